//! Links among inputs: declared, found by globs, named by a depfile or made by a task. Each is
//! followed link by link, in the tree, in a sandbox and in a worktree.

mod made;

use crate::support::{Run, World, wait_until};

/// Where a task may run.
const ISOLATIONS: [&str; 3] = ["none", "sandbox", "worktree"];

/// One task that reads in every isolation: `keys` are YAML lines of its own.
fn reader(isolation: &str, keys: &str) -> World {
    let w = repository();
    w.manifest(&format!("tasks:\n  T:\n    isolation: {isolation}\n    outputs: [o]\n    {keys}\n"));
    w
}

/// An empty repository.
fn repository() -> World {
    let mut w = World::empty();
    let home = w.root().with_file_name("home");
    std::fs::create_dir(&home).unwrap();
    w.set_env("HOME", home.to_str().unwrap());
    w.git(&["init", "-q"])
        .file(".gitignore", "/o\n/made\n")
        .git(&["add", "-A"])
        .git(&["commit", "-q", "-m", "x"]);
    w
}

/// The task must run, and makes this; after that nothing is due and `check` says the same.
#[track_caller]
fn makes(w: &World, expected: &str) -> Run {
    w.check(&[]).fails_with(3);
    w.why("T").success().never_says("is fresh");
    let run = w.build(&[]);
    run.success();
    assert_eq!(run.task("T")["status"], "ran", "{run}");
    assert_eq!(w.read("o").trim_end(), expected, "{run}");
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
    run
}

#[track_caller]
fn is_fresh(w: &World) {
    w.check(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn a_chain_of_links_counts_link_by_link() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [current]\n    run: cat current > o");
        w.file("src/v1", "1").file("src/v2", "2").link("release", "src/v1").link("current", "release");
        makes(&w, "1");
        w.file("src/v1", "one");
        makes(&w, "one");
        w.link("release", "src/v2");
        makes(&w, "2");
        w.file("src/v1", "nobody reads it");
        is_fresh(&w);
        w.link("middle", "release").link("current", "middle");
        makes(&w, "2");
    }
}

#[test]
fn a_link_in_the_middle_of_a_path_is_an_input_and_so_is_the_file_behind_it() {
    for isolation in ISOLATIONS {
        let w =
            reader(isolation, "inputs: [l/f]\n    run: 'cat l/f > o; readlink l >> o; echo ${inputs} >> o'");
        w.file("a/f", "1\n").file("b/f", "1\n").link("l", "a");
        makes(&w, "1\na\nl/f");
        w.file("a/f", "2\n");
        makes(&w, "2\na\nl/f");
        w.file("a/f", "1\n").build(&[]).success();
        w.link("l", "b");
        makes(&w, "1\nb\nl/f");
        w.file("a/f", "nobody reads it");
        is_fresh(&w);
    }
}

#[test]
fn a_link_to_a_folder_means_the_folder() {
    for isolation in ISOLATIONS {
        for input in ["l", "l/", "'l/*'", "'l/**'"] {
            let w = reader(
                isolation,
                &format!("inputs: [{input}]\n    run: 'cat l/* > o; echo ${{inputs}} >> o'"),
            );
            w.file("real/a", "1\n").link("l", "real");
            makes(&w, "1\nl/a");
            w.file("real/a", "2\n");
            makes(&w, "2\nl/a");
            w.file("real/b", "b\n");
            makes(&w, "2\nb\nl/a l/b");
            w.remove("real/a");
            makes(&w, "b\nl/b");
            w.file("other/x", "x\n").link("l", "other");
            makes(&w, "x\nl/x");
            w.file("real/c", "nobody reads it");
            is_fresh(&w);
        }
    }
}

#[test]
fn the_folder_behind_a_link_has_the_rules_of_a_folder() {
    let w = reader("none", "inputs: [l, '!l/tmp', '!real/out']\n    run: 'printf \"%s\\n\" ${inputs} > o'");
    w.file(".gitignore", "/o\n/real\n*.log\n")
        .file("real/a", "")
        .file("real/x.log", "")
        .file("real/tmp/t", "");
    w.file("real/sub/.conductorignore", "hidden\n")
        .file("real/sub/hidden", "")
        .file("real/sub/b", "")
        .link("l", "real");
    makes(&w, "l/a\nl/sub/.conductorignore\nl/sub/b");
    for unseen in ["real/x.log", "real/tmp/t", "real/sub/hidden"] {
        w.file(unseen, "another content");
        is_fresh(&w);
    }
    w.manifest("tasks: { T: { inputs: ['l/**'], outputs: [o], run: 'printf \"%s\\n\" ${inputs} > o' } }");
    makes(&w, "");
    w.file(".gitignore", "/o\n");
    makes(&w, "l/a\nl/sub/.conductorignore\nl/sub/b\nl/tmp/t\nl/x.log");
    w.file(".gitignore", "/o\n/l\n");
    is_fresh(&w);
}

#[test]
fn a_glob_that_matches_a_link_to_a_folder_counts_what_is_in_it() {
    for isolation in ISOLATIONS {
        let w = reader(
            isolation,
            "inputs: ['libs/*', '!libs/l/no']\n    run: 'cat libs/l/a > o; echo ${inputs} >> o'",
        );
        w.file("real/a", "1\n").file("real/no", "").file("libs/f", "").link("libs/l", "../real");
        makes(&w, "1\nlibs/f libs/l");
        w.file("real/a", "2\n");
        makes(&w, "2\nlibs/f libs/l");
        w.file("real/new", "");
        makes(&w, "2\nlibs/f libs/l");
        w.file("real/no", "another content");
        is_fresh(&w);
    }
}

#[test]
fn links_in_a_folder_behind_a_link_are_followed_too() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [l]\n    run: 'cat l/k/x l/back/a > o'");
        w.file("b/a", "a")
            .file("c/x", "1")
            .link("l", "b")
            .link("b/k", "../c")
            .link("b/back", "../b")
            .link("c/round", "../b");
        let run = w.build(&[]);
        run.success();
        assert_eq!(w.read("o"), "1a");
        is_fresh(&w);
        w.file("c/x", "2");
        makes(&w, "2a");
    }
}

#[test]
fn a_link_to_a_folder_that_holds_it_is_its_text_and_the_way_through_it_counts() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [up, here/f]\n    run: 'readlink up > o; cat here/f >> o'");
        w.file("f", "1").link("up", ".").link("here", ".");
        makes(&w, ".\n1").says("up, an input of T, is a link that leads to a folder that holds it");
        w.file("beside", "nobody reads it");
        is_fresh(&w);
        w.file("f", "2");
        makes(&w, ".\n2");
    }
}

#[test]
fn a_circle_and_a_link_that_leads_out_are_their_texts_with_a_warning() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("f"), "1").unwrap();
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [a, out]\n    run: readlink a out > o");
        w.link("a", "b").link("b", "a").link("out", outside.path());
        let run = makes(&w, &format!("b\n{}", outside.path().display()));
        run.says("a, an input of T, is a link that leads in a circle");
        run.says("out, an input of T, is a link that leads out of the workspace");
        std::fs::write(outside.path().join("f"), isolation).unwrap();
        is_fresh(&w);
        w.link("b", "c").link("c", "a");
        makes(&w, &format!("b\n{}", outside.path().display()));
    }
}

#[test]
fn a_file_behind_a_link_that_leads_out_counts_by_its_content() {
    let outside = tempfile::tempdir().unwrap();
    for isolation in ISOLATIONS {
        std::fs::write(outside.path().join("f"), "1").unwrap();
        let w = reader(isolation, "inputs: [ext/f]\n    run: cat ext/f > o");
        w.link("ext", outside.path());
        makes(&w, "1");
        std::fs::write(outside.path().join("f"), "2").unwrap();
        makes(&w, "2");
    }
}

#[test]
fn a_target_that_appears_or_goes_is_noticed() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [l]\n    run: 'cat l > o 2>/dev/null || echo none > o'");
        w.link("l", "d/k").folder("d").link("d/k", "deep/f");
        makes(&w, "none").says("leads nowhere");
        w.file("d/deep/f", "1");
        makes(&w, "1");
        w.remove("d/deep");
        makes(&w, "none");
        w.file("e/f", "2").link("d/deep", "../e");
        makes(&w, "2");
        w.file("e/f", "3");
        makes(&w, "3");
    }
}

#[test]
fn an_absolute_link_into_the_workspace_leads_to_the_snapshot() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [sub/l, k]\n    run: 'cat sub/l k/f > o'");
        w.file("src/f", "1").link("sub/l", w.path("src/f")).link("k", w.path("j")).link("j", w.path("src"));
        makes(&w, "11");
        w.file("src/f", "2");
        makes(&w, "22");
    }
}

#[test]
fn an_empty_folder_behind_a_link_is_there_for_the_task() {
    for isolation in ISOLATIONS {
        let w = reader(isolation, "inputs: [l]\n    run: 'ls l > o'");
        w.folder("real").link("l", "real");
        makes(&w, "");
        w.remove("real");
        w.check(&[]).fails_with(3);
    }
}

#[test]
fn a_depfile_names_links_and_what_they_lead_to_counts() {
    for isolation in ISOLATIONS {
        let w = reader(
            isolation,
            "inputs: [a.c]\n    sees: all\n    depfile: made/d\n    run: 'mkdir -p made; cat a.c inc/h.h lib/x.h > o; echo \"o: inc/h.h lib/x.h\" > made/d'",
        );
        w.file("a.c", "a").file("src/h.h", "h").file("real/x.h", "x");
        w.link("inc/h.h", "../mid").link("mid", "src/h.h").link("lib", "real");
        makes(&w, "ahx");
        w.file("src/h.h", "H");
        makes(&w, "aHx");
        w.file("real/x.h", "X");
        makes(&w, "aHX");
        w.file("src/g.h", "g").link("mid", "src/g.h");
        makes(&w, "agX");
        w.file("other/x.h", "o").link("lib", "other");
        makes(&w, "ago");
        w.file("src/h.h", "nobody reads it").file("real/x.h", "nobody reads it");
        is_fresh(&w);
    }
}

#[test]
fn links_among_the_inputs_of_checks_are_followed() {
    for isolation in ISOLATIONS {
        let w = reader(
            isolation,
            "inputs: []\n    run: echo 1 > o\n    validate: [{ run: 'sh checks/now/c.sh && cat checks/list', inputs: [checks/now/c.sh, checks/list] }]",
        );
        w.file("rules/c.sh", "true")
            .file("rules/list", "1")
            .link("checks/now", "../rules")
            .link("checks/list", "now/list");
        makes(&w, "1");
        w.file("rules/list", "2");
        w.check(&[]).fails_with(3);
        w.build(&[]).success().checked_again(&["T"]);
        w.file("rules/c.sh", "true # again");
        w.build(&[]).success().checked_again(&["T"]);
        is_fresh(&w);
    }
}

#[test]
fn a_fresh_clone_with_the_lock_follows_the_same_links() {
    let manifest = "
tasks:
  mk: { inputs: [], outputs: [made], run: 'ln -s src made' }
  D: { inputs: [l/a], outputs: [p], depfile: .d, run: 'cat l/a k > p; echo \"p: k\" > .d' }
  T: { inputs: [l, 'libs/*'], needs: [mk], outputs: [o], run: 'cat l/a made/a > o' }
";
    let w = repository();
    w.manifest(manifest);
    w.file("src/a", "1").file("x/y", "").link("l", "src").link("libs/x", "../x").link("k", "l/a");
    w.file(".gitignore", "/.d\n").build(&[]).success();
    w.run(&["lock"]).success();
    w.git(&["add", "-A"]).git(&["commit", "-q", "-m", "x"]);
    let other = World::empty();
    other.git(&["clone", "-q", &w.root().display().to_string(), "."]);
    other.check(&[]).success();
    other.build(&[]).runs_nothing();
    other.file("src/a", "2");
    other.check(&[]).fails_with(3);
    assert_eq!((other.check(&[]).state("T"), other.check(&[]).state("D")), ("stale".into(), "stale".into()));
    let again = World::empty();
    again.git(&["clone", "-q", &w.root().display().to_string(), "."]);
    again.file("src/a", "2").check(&[]).fails_with(3);
}

#[test]
fn a_result_behind_links_comes_from_the_cache() {
    let mut w = reader("none", "inputs: [l]\n    depfile: d\n    run: 'cat l/a k > o; echo \"o: k\" > d'");
    w.set_env("CONDUCTOR_CACHE", "rw");
    w.file("one/a", "1").file("two/a", "2").link("l", "one").file("h", "h").link("k", "h");
    w.build(&[]).success().ran(&["T"]);
    w.link("l", "two").build(&[]).success().ran(&["T"]);
    w.link("l", "one").build(&[]).success().are("cached", &["T"]);
    assert_eq!(w.read("o"), "1h");
    w.build(&[]).runs_nothing();
    w.file("h", "H").build(&[]).success().ran(&["T"]);
    w.file("h", "h").build(&[]).success().are("cached", &["T"]);
    // A folder of the same name that holds the same is another way.
    w.folder("inc").link("k", "inc/h").file("inc/h", "h").build(&[]).success().ran(&["T"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_link_on_the_way_that_is_turned_while_the_task_runs_is_noticed() {
    let signal = tempfile::tempdir().unwrap();
    let go = signal.path().join("go");
    for isolation in ISOLATIONS {
        let run =
            format!("cat current > o; echo started; while [ ! -e {} ]; do sleep 0.02; done", go.display());
        let w = reader(isolation, &format!("inputs: [current]\n    run: '{run}'"));
        w.file("src/v1", "1").file("src/v2", "2").link("release", "src/v1").link("current", "release");
        let build = w.start(&[]);
        wait_until("the task runs", || w.run(&["log", "T"]).stdout.contains("started"));
        w.link("release", "src/v2");
        std::fs::write(&go, "").unwrap();
        build.wait().fails_with(3).says("release changed while");
        makes(&w, "2");
        std::fs::remove_file(&go).unwrap();
    }
}

#[test]
fn a_task_may_write_into_the_folder_behind_its_linked_input() {
    let w = World::new("tasks: { T: { inputs: [l], outputs: [real/o], run: 'ls l > real/o' } }");
    w.file("real/a", "").link("l", "real");
    w.build(&[]).success().ran(&["T"]);
    w.build(&[]).runs_nothing();
    w.file("real/b", "").build(&[]).success().ran(&["T"]);
    assert_eq!(w.read("real/o"), "a\nb\no\n");
}
