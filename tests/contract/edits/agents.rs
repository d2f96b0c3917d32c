//! A person's edit of what an agent made: nothing starts on that chain before the person has spoken.
//!
//! The result that stands was made by a command, and the manifest gives the task to an agent afterwards, whose program is not
//! there: none of this needs it. What real sessions make of edits is in tests/agents.

use crate::support::World;

const CHECKED: &str = "validate: [{ matches: { path: a, regex: made } }]";

/// `e` edited `a`; then it became an agent's, and a person wrote `text`.
fn edited(text: &str) -> World {
    let task = |work: &str| {
        format!(
            "agents: {{ claude: {{ bin: ./nowhere/claude }} }}\ntasks: {{ e: {{ isolation: sandbox, inputs: [], edits: [a], {CHECKED}, {work} }} }}"
        )
    };
    let w = World::new(&task("run: 'echo made >> a'"));
    w.file("a", "base\n").build(&[]).success().ran(&["e"]);
    w.manifest(&task("agent: claude, instructions: do it"));
    w.file("a", text);
    w.build(&[]).fails_with(4).failed(&["e"]);
    w.run(&["build"]).fails_with(4).says("you edited a").says("--mine").never_says("cannot find the program");
    assert_eq!(w.read("a"), text);
    w
}

#[test]
fn mine_adopts_the_edit_without_a_run_if_the_checks_accept_it() {
    let w = edited("made, and more\n");
    w.run(&["resolve", "a", "--mine"]).success();
    w.build(&[]).runs_nothing();
    assert_eq!(w.read("a"), "made, and more\n");
}

#[test]
fn mine_that_the_checks_refuse_changes_nothing() {
    let w = edited("something else\n");
    w.run(&["resolve", "a", "--mine"]).fails_with(1).says("was not accepted");
    assert_eq!(w.read("a"), "something else\n");
    w.build(&[]).fails_with(4);
}

#[test]
fn theirs_puts_the_recorded_result_back_and_keeps_the_edit() {
    let w = edited("mine\n");
    w.run(&["resolve", "a", "--theirs"]).success().says("your version is kept in");
    assert_eq!(w.read("a"), "base\nmade\n");
    assert_eq!(w.conflicts(), ["a"]);
    w.run(&["resolve", "a", "--theirs"]).fails_with(2).says("nothing is in conflict");
}

#[test]
fn replay_makes_the_edit_the_new_base() {
    let w = edited("mine\n");
    w.run(&["resolve", "a", "--replay"]).success().says("new base");
    assert_eq!(w.read("a"), "mine\n");
    // It is due now, by whoever does it.
    w.check(&[]).fails_with(3);
    w.run(&["build"]).fails_with(1).says("cannot find the program `./nowhere/claude`");
    assert_eq!(w.read("a"), "mine\n");
}
