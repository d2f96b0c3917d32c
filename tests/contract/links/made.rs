//! Links made by tasks, and links to outputs of tasks.

use super::{ISOLATIONS, is_fresh, makes, repository};
use crate::support::World;

#[test]
fn a_depfile_that_leads_through_a_link_to_what_another_task_makes_is_refused() {
    let w = World::new(
        "
tasks:
  M: { inputs: [x], outputs: [gen/h], run: cp x gen/h }
  T: { inputs: [], outputs: [o], depfile: d, run: 'cat l/h > o; echo \"o: l/h\" > d' }
",
    );
    w.file("x", "1").folder("gen").link("l", "gen");
    w.build(&["M"]).success();
    w.build(&["T"]).fails_with(1).says("gen/h, which M makes").says("needs: [M]");
}

/// A task that makes a link, and one that reads through it.
fn made(isolation: &str, how: &str) -> World {
    let w = repository();
    w.manifest(&format!(
        "
tasks:
  mk: {{ isolation: {isolation}, inputs: [to], outputs: [made/current], run: 'mkdir -p made; ln -s \"$(cat to)\" made/current' }}
  T: {{ isolation: {isolation}, {how}, outputs: [o], run: cat made/current > o }}
"
    ));
    w
}

#[test]
fn a_link_that_a_task_makes_to_a_source_shows_the_source_to_what_depends_on_it() {
    for isolation in ISOLATIONS {
        for how in
            ["inputs: [made/current]", "inputs: [made/]", "inputs: ['made/*']", "needs: [mk], inputs: []"]
        {
            let w = made(isolation, how);
            w.file("to", "../src/v1").file("src/v1", "1").file("src/v2", "2");
            makes(&w, "1");
            w.file("src/v1", "one");
            makes(&w, "one");
            w.file("to", "../mid").link("mid", "src/v2");
            makes(&w, "2");
            w.link("mid", "src/v1");
            makes(&w, "one");
            w.file("src/v2", "nobody reads it");
            is_fresh(&w);
        }
    }
}

#[test]
fn a_link_that_a_task_makes_to_a_folder_is_listed_each_time() {
    for isolation in ISOLATIONS {
        for how in
            ["inputs: [made/d]", "inputs: ['made/d/*']", "inputs: [made/d/a]", "needs: [mk], inputs: []"]
        {
            let w = repository();
            w.manifest(&format!(
                "
tasks:
  mk: {{ isolation: {isolation}, inputs: [to], outputs: [made/d], run: 'mkdir -p made; ln -s \"$(cat to)\" made/d' }}
  T: {{ isolation: {isolation}, {how}, outputs: [o], run: cat made/d/a > o }}
"
            ));
            w.file("to", "../src").file("src/a", "1").file("other/a", "2");
            makes(&w, "1");
            w.file("src/a", "one");
            makes(&w, "one");
            w.file("to", "../other");
            makes(&w, "2");
            w.file("src/a", "nobody reads it");
            is_fresh(&w);
        }
    }
}

#[test]
fn a_made_link_to_what_another_task_makes_shows_it_as_it_is_made() {
    for how in ["needs: [mk]", "needs: [mk, gen]", "inputs: [cur]"] {
        let inputs = if how.starts_with("inputs") { "" } else { ", inputs: []" };
        let w = World::new(&format!(
            "
tasks:
  gen: {{ inputs: [x], outputs: [made/v], run: 'cp x made/v' }}
  mk: {{ inputs: [], needs: [gen], outputs: [cur], run: 'ln -s made/v cur' }}
  T: {{ {how}{inputs}, outputs: [o], run: cat cur > o }}
"
        ));
        w.file("x", "1");
        makes(&w, "1");
        w.file("x", "2");
        let run = makes(&w, "2");
        run.never_says("does not wait for");
    }
}

#[test]
fn a_link_to_what_a_task_makes_that_nobody_waits_for_is_told() {
    let w = World::new(
        "
tasks:
  T: { inputs: [l/f], outputs: [o], run: 'cat l/f > o || echo none > o' }
  M: { inputs: [x], outputs: [made/f], run: cp x made/f }
",
    );
    w.file("x", "1").folder("made").link("l", "made");
    w.build(&["-j1"]).says("leads to made/f, which M makes, but T does not wait for M").says("needs: [M]");
    w.build(&[]).success();
    assert_eq!(w.read("o"), "1");
    is_fresh(&w);
    w.manifest(
        "
tasks:
  T: { inputs: [l/f], needs: [M], outputs: [o], run: 'cat l/f > o || echo none > o' }
  M: { inputs: [x], outputs: [made/f], run: cp x made/f }
",
    );
    w.build(&[]).success();
    w.file("x", "2");
    makes(&w, "2").never_says("does not wait");
}

#[test]
fn a_made_link_that_leads_out_or_nowhere_is_told_of_its_reader() {
    let w = made("none", "inputs: [made/current]");
    w.manifest(
        "
tasks:
  mk: { inputs: [to], outputs: [l], run: 'ln -s \"$(cat to)\" l' }
  T: { inputs: [l], outputs: [o], run: readlink l > o }
",
    );
    w.file("to", "/etc/hostname");
    makes(&w, "/etc/hostname").says("l, an input of T, is a link that leads out of the workspace");
    w.file("to", "nothing");
    makes(&w, "nothing").says("l, an input of T, is a link that leads nowhere");
    w.file("nothing", "appears");
    makes(&w, "nothing");
}

#[test]
fn a_link_made_on_a_branch_leads_to_the_tree() {
    let w = repository();
    w.manifest(
        "
defaults: { isolation: worktree, integrate: branch }
tasks:
  mk: { inputs: [to], outputs: [made/], run: 'mkdir -p made; ln -s \"$(cat to)\" made/l' }
  T: { inputs: [], needs: [mk], integrate: tree, outputs: [o], run: cat made/l > o }
",
    );
    w.file("to", "../src/v1").file("src/v1", "1").file("src/v2", "2");
    makes(&w, "1");
    w.file("src/v1", "one");
    makes(&w, "one");
    w.file("to", "../src/v2");
    makes(&w, "2");
    w.file("src/v1", "nobody reads it");
    is_fresh(&w);
}

#[test]
fn a_chain_of_made_links_through_folders_of_other_tasks_is_followed() {
    for isolation in ISOLATIONS {
        let w = repository();
        w.manifest(&format!(
            "
defaults: {{ isolation: {isolation} }}
tasks:
  a: {{ inputs: [x], outputs: [made/a/], run: 'mkdir -p made/a; cp x made/a/x; ln -s ../../src made/a/src' }}
  b: {{ inputs: [made/a/], outputs: [made/b], run: ln -s a made/b }}
  T: {{ inputs: [made/b/src/f, made/b], needs: [a], outputs: [o], run: cat made/b/x made/b/src/f > o }}
"
        ));
        w.file("x", "x").file("src/f", "1");
        makes(&w, "x1");
        w.file("src/f", "2");
        makes(&w, "x2");
        w.file("x", "X");
        makes(&w, "X2");
        w.remove("made/b");
        if isolation == "none" {
            w.file("made/b", "by hand");
        }
        w.build(&[]).success();
        is_fresh(&w);
    }
}
