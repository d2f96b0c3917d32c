//! What counts as an input and as an output: globs, ignore rules, exclusions, links, folders, executable bits,
//! strange names, depfiles.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::World;

/// One task that lists its inputs into `o`, built once.
fn listing(inputs: &str) -> World {
    World::new(&format!(
        "tasks:\n  T1:\n    inputs: {inputs}\n    outputs: [o]\n    run: printf '%s\\n' ${{inputs}} > o\n"
    ))
}

#[track_caller]
fn lists(w: &World, expected: &str) {
    w.build(&[]).success();
    assert_eq!(w.read("o").trim_end(), expected);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_star_stops_at_a_slash_and_two_do_not() {
    let files = |w: &World| {
        for path in ["s/a.c", "s/b.h", "s/t/c.c", "s/.hidden.c"] {
            w.file(path, "");
        }
    };
    for (pattern, expected) in [
        ("[\"s/*.c\"]", "s/.hidden.c\ns/a.c"),
        ("[\"s/**/*.c\"]", "s/.hidden.c\ns/a.c\ns/t/c.c"),
        ("[\"s/**\"]", "s/.hidden.c\ns/a.c\ns/b.h\ns/t/c.c"),
        ("[\"s/?.{c,h}\"]", "s/a.c\ns/b.h"),
        ("[\"s/[ab].*\"]", "s/a.c\ns/b.h"),
        ("[s/]", "s/.hidden.c\ns/a.c\ns/b.h\ns/t/c.c"),
        ("[s]", "s/.hidden.c\ns/a.c\ns/b.h\ns/t/c.c"),
        ("[\"s/**\", \"!s/t/**\"]", "s/.hidden.c\ns/a.c\ns/b.h"),
        ("[\"s/**\", \"!s/*.c\", s/a.c]", "s/a.c\ns/b.h\ns/t/c.c"),
        ("[s/, \"!s/t\"]", "s/.hidden.c\ns/a.c\ns/b.h"),
        ("[\"!s/a.c\", \"s/a.c\"]", "s/a.c"),
        ("[\"s/a.c\", \"!s/*\"]", ""),
    ] {
        let w = listing(pattern);
        files(&w);
        lists(&w, expected);
    }
}

#[test]
fn a_glob_characters_escape_makes_it_literal() {
    let w = listing("['s/\\[a\\].c', 's/\\*']");
    w.file("s/[a].c", "").file("s/a.c", "").file("s/*", "");
    lists(&w, "s/*\ns/[a].c");
}

#[test]
fn globs_honour_the_ignore_rules_and_paths_written_out_count() {
    let w = listing("[\"s/**\", s/ignored.txt]");
    w.file(".gitignore", "*.log\nignored.txt\n!kept.log\n").file(".conductorignore", "*.tmp\n");
    for path in
        ["s/a.txt", "s/a.log", "s/kept.log", "s/a.tmp", "s/ignored.txt", "s/t/.gitignore", "s/t/x.txt"]
    {
        w.file(path, "");
    }
    w.file("s/t/.gitignore", "x.txt\n");
    lists(&w, "s/a.txt\ns/ignored.txt\ns/kept.log\ns/t/.gitignore");
    w.file("s/a.log", "more").file("s/a.tmp", "more");
    w.build(&[]).runs_nothing();
    w.file("s/ignored.txt", "more");
    w.build(&[]).success().ran(&["T1"]);
}

#[test]
fn another_ignore_rule_is_another_set_of_inputs() {
    let w = listing("[\"s/*\"]");
    w.file("s/a", "").file("s/b", "");
    lists(&w, "s/a\ns/b");
    w.file(".gitignore", "b\n");
    let run = w.build(&[]);
    run.success().ran(&["T1"]);
    assert_eq!(run.reason("T1", "input_removed")["path"], "s/b");
}

#[test]
fn a_folder_that_is_written_out_counts_even_where_git_ignores_it() {
    let w = World::new("tasks: { T1: { inputs: [vendor/], outputs: [o], run: cat vendor/* > o } }");
    w.file(".gitignore", "vendor/\n").file("vendor/a", "1").build(&[]).success();
    w.file("vendor/a", "2").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "2");
    w.file("vendor/b", "3").build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn gits_and_conductors_own_folders_never_match() {
    let w = listing("[\"**\", \"!o\", \"!conductor.yaml\"]");
    w.git(&["init", "-q"]).file("a", "");
    lists(&w, "a");
}

#[test]
fn a_tasks_own_outputs_never_match_its_inputs() {
    let w = World::new("tasks: { T1: { inputs: [\"d/**\"], outputs: [d/out/], run: ls d > d/out/list } }");
    w.file("d/a", "").build(&[]).success();
    w.build(&[]).runs_nothing();
}

#[test]
fn what_another_task_makes_counts_though_git_ignores_it() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [a], outputs: [gen/x], run: cp a gen/x }
  T2: { inputs: [\"gen/*\"], outputs: [o], run: cat gen/* > o }
",
    );
    w.file(".gitignore", "gen/\n").file("a", "1").build(&[]).success();
    w.file("a", "2").build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "2");
}

#[test]
fn an_executable_bit_counts() {
    let w = World::new("tasks: { T1: { inputs: [a], outputs: [o], run: ls -l a > o } }");
    w.file("a", "").build(&[]).success();
    w.executable("a", true);
    let run = w.build(&[]);
    run.success().ran(&["T1"]).reason("T1", "input_changed");
    std::fs::set_permissions(w.path("a"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    w.build(&[]).runs_nothing();
}

#[test]
fn an_outputs_executable_bit_counts_downstream() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [mode], outputs: [p], run: 'echo x > p; chmod $(cat mode) p' }
  T2: { inputs: [p], outputs: [o], run: stat -c %a p > o }
",
    );
    w.file("mode", "644").build(&[]).success();
    w.file("mode", "755").build(&[]).success().ran(&["T1", "T2"]);
    w.executable("p", false).build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_link_counts_by_its_text_and_by_what_it_leads_to() {
    let w = World::new("tasks: { T1: { inputs: [l], outputs: [o], run: cat l > o } }");
    w.file("x", "1").file("y", "1").link("l", "x").build(&[]).success();
    w.file("x", "2").build(&[]).success().ran(&["T1"]);
    w.link("l", "y").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "1");
    w.file("x", "3").build(&[]).runs_nothing();
    w.link("l", "z").link("z", "y").build(&[]).success();
    w.file("y", "4").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "4");
}

#[test]
fn a_link_that_leads_nowhere_or_out_counts_by_its_text_with_a_warning() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().join("f");
    std::fs::write(&target, "1").unwrap();
    let w = World::new("tasks: { T1: { inputs: [l, m], outputs: [o], run: readlink l m > o } }");
    w.link("l", "nowhere").link("m", &target);
    w.build(&[]).success().says("leads nowhere").says("leads out of the workspace");
    std::fs::write(&target, "2").unwrap();
    w.build(&[]).runs_nothing();
    w.link("l", "elsewhere").build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_link_to_a_folder_is_not_entered_by_two_stars() {
    let w = listing("[\"s/**\"]");
    w.file("t/inside", "").file("s/a", "").link("s/l", "../t");
    lists(&w, "s/a\ns/l");
    w.link("s/round", ".");
    lists(&w, "s/a\ns/l\ns/round");
}

#[test]
fn a_link_may_be_an_output() {
    let w = World::new(
        "
tasks:
  T1: { inputs: [to], outputs: [l], run: ln -s $(cat to) l }
  T2: { inputs: [l], outputs: [o], run: readlink l > o }
",
    );
    w.file("to", "x").build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file("to", "y").build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "y\n");
    w.link("l", "by-hand");
    assert_eq!(w.check(&[]).reason("T1", "output_modified")["path"], "l");
}

#[test]
fn an_empty_folder_is_a_result_too() {
    let w = World::new("tasks: { T1: { inputs: [], outputs: [d/], run: mkdir -p d/sub } }");
    let run = w.build(&[]);
    run.success();
    w.build(&[]).runs_nothing();
    w.remove("d/sub");
    w.check(&[]).fails_with(3);
    w.build(&[]).success().ran(&["T1"]);
    assert!(w.has("d/sub"));
}

#[test]
fn a_folder_of_outputs_is_made_before_and_its_files_are_watched_one_by_one() {
    let w = World::new(
        "
tasks:
  T1:
    inputs: [n]
    outputs: [d/, e/f/g]
    run: 'touch $(sed s,^,d/, n) e/f/g'
",
    );
    w.file("n", "a\nb\n");
    let run = w.build(&[]);
    run.success();
    let outputs = run.task("T1")["outputs"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(outputs, ["d/a", "d/b", "e/f/g"]);
    w.remove("d/b");
    assert_eq!(w.check(&[]).reason("T1", "output_missing")["path"], "d/b");
    w.file("n", "a\n").build(&[]).success().ran(&["T1"]);
    assert!(w.has("d/a") && !w.has("d/b"), "what is made no more goes");
}

#[test]
fn an_optional_output_may_be_there_or_not() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [o, { path: p, optional: true }], run: touch o; if grep -q yes a; then cp a p; fi } }",
    );
    w.file("a", "no").build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file("a", "yes").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("p"), "yes");
    w.remove("p");
    assert_eq!(w.check(&[]).reason("T1", "output_missing")["path"], "p");
    w.file("a", "no").build(&[]).success();
    assert!(!w.has("p"));
    w.build(&[]).runs_nothing();
}

#[test]
fn an_optional_output_that_a_task_stops_making_goes() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], outputs: [{ path: p, optional: true }], run: if grep -q yes a; then cp a p; fi } }",
    );
    w.file("a", "yes").build(&[]).success();
    w.file("a", "no").build(&[]).success();
    assert!(!w.has("p"));
}

#[test]
fn names_that_are_not_utf_8_are_inputs_and_outputs() {
    let w = World::new("tasks: { T1: { inputs: [\"in/*\"], outputs: [out/], run: cp in/* out/ } }");
    let name = OsStr::from_bytes(b"caf\xe9");
    w.folder("in").file(std::path::Path::new("in").join(name), "1");
    w.build(&[]).success().ran(&["T1"]);
    assert_eq!(std::fs::read(w.path("out").join(name)).unwrap(), b"1");
    w.build(&[]).runs_nothing();
    w.file(std::path::Path::new("in").join(name), "2");
    let run = w.build(&[]);
    run.success().ran(&["T1"]).reason("T1", "input_changed");
    std::fs::remove_file(w.path("out").join(name)).unwrap();
    w.build(&[]).success().ran(&["T1"]);
    w.run(&["check"]).success();
}

#[test]
fn two_names_that_differ_only_in_bytes_that_are_not_utf_8_stay_two_in_json() {
    let w = World::new(
        "tasks: { T1: { inputs: [], outputs: [out/], run: \"cd out; touch \\\"$(printf 'x\\\\351')\\\" \\\"$(printf 'x\\\\352')\\\"\" } }",
    );
    let run = w.build(&[]);
    run.success();
    assert_eq!(run.task("T1")["outputs"].as_object().unwrap().len(), 2, "{run}");
}

#[test]
fn hostile_names_are_quoted_for_the_shell_and_whole_in_an_argv() {
    let names =
        ["a b", "-n", "quo'te", "do$lar", "back`tick", "semi;colon", "new\nline", "uml äut", "\"double\""];
    let w = World::new(
        "
tasks:
  shell: { dir: in, inputs: [\"in/*\"], outputs: [shell], run: 'for f in ${inputs}; do test -e \"$f\"; printf \"%s|\" \"$f\"; done > ../shell' }
  argv: { dir: in, inputs: [\"in/*\"], run: [sh, -c, 'for f; do test -e \"./$f\"; printf \"%s|\" \"$f\"; done', x, \"${inputs}\"] }
",
    );
    for name in names {
        w.file(format!("in/{name}"), "");
    }
    w.build(&[]).success().ran(&["shell", "argv"]);
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let argv = w.json("log", &["argv"]).json()["text"].as_str().unwrap().to_owned();
    assert_eq!(argv, expected.join("|") + "|");
    assert_eq!(w.read("shell").replace("./-n", "-n"), argv);
}

const DEPFILE: &str = "tasks: { T1: { inputs: [a.c], depfile: a.d, outputs: [o], run: \"cat a.c h/* > o; echo o: a.c h/* > a.d\" } }";

#[test]
fn a_depfile_brings_in_what_the_command_read() {
    let w = World::new(DEPFILE);
    w.file("a.c", "c").file("h/x", "1").file("h/y", "1").build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file("h/x", "2");
    let run = w.build(&[]);
    assert_eq!(run.success().ran(&["T1"]).reason("T1", "input_changed")["path"], "h/x");
    assert_eq!(w.read("o"), "c21");
    w.build(&[]).runs_nothing();
    w.remove("h/y");
    assert_eq!(w.build(&[]).success().reason("T1", "input_removed")["path"], "h/y");
    w.file("h/y", "not read any more: the listing is no input");
    w.build(&[]).runs_nothing();
}

#[test]
fn a_depfile_may_name_absolute_paths_and_those_outside_are_ignored() {
    let w = World::new(
        "tasks: { T1: { dir: sub, inputs: [], depfile: sub/d, outputs: [sub/o], run: \"cat ../h > o; echo o: $PWD/../h ../k /etc/hostname ../../outside > d\" } }",
    );
    w.folder("sub").file("h", "1").file("k", "1").build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file("h", "2").build(&[]).success().ran(&["T1"]);
    w.file("k", "2").build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_depfile_that_is_not_written_fails_the_task() {
    let w = World::new("tasks: { T1: { inputs: [], depfile: d, outputs: [o], run: touch o } }");
    w.run(&["build"]).fails_with(1).says("depfile");
}

#[test]
fn a_depfile_of_an_earlier_run_does_not_pass_for_one_of_this_run() {
    let w = World::new(
        "tasks: { T1: { inputs: [a], depfile: d, outputs: [o], run: 'touch o; if grep -q yes a; then echo \"o: h\" > d; fi' } }",
    );
    w.file("a", "yes").file("h", "").build(&[]).success();
    w.file("a", "no");
    w.run(&["build"]).fails_with(1).says("depfile");
}

#[test]
fn a_discovered_path_that_another_task_makes_without_an_edge_is_an_error() {
    let manifest = "
tasks:
  T1: { inputs: [], outputs: [h], run: echo 1 > h }
  T2: { NEEDSinputs: [], depfile: d, outputs: [o], run: 'cat h > o || true; echo o: h > d' }
";
    let w = World::new(&manifest.replace("NEEDS", ""));
    w.build(&["T1"]).success();
    w.run(&["build", "T2"]).fails_with(1).says("needs: [T1]");
    w.manifest(&manifest.replace("NEEDS", "needs: [T1], "));
    w.build(&[]).success().ran(&["T2"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn the_same_file_as_input_and_in_the_depfile_is_one_input() {
    let w = World::new(DEPFILE);
    w.file("a.c", "c").file("h/x", "1").build(&[]).success();
    w.file("a.c", "d");
    let run = w.build(&[]);
    assert_eq!(run.success().reason("T1", "input_changed")["path"], "a.c");
}

#[test]
fn an_input_glob_that_matches_nothing_is_a_warning() {
    let w = World::new("tasks: { T1: { inputs: [\"s/*.c\", gone.txt], run: 'true' } }");
    w.run(&["build"]).success().says("s/*.c").says("matches nothing").says("gone.txt");
}

#[test]
fn what_looks_wrong_is_told_once_for_all_instances_and_only_when_the_task_is_about_to_run() {
    let w = World::new(
        "tasks:
  T1: { matrix: { v: [a, b, c] }, inputs: [\"s/${matrix.v}/*.c\", \"t/*\"], tools: [sh], outputs: ['${matrix.v}'], run: 'touch ${matrix.v}' }
  T2: { inputs: [x, link], outputs: [o], run: cat x > o }
",
    );
    w.file("t/1", "").file("x", "1").link("link", "nowhere/at/all");
    let run = w.run(&["build"]);
    run.success().says("matches nothing; 2 more of the instances of T1 likewise").says("leads nowhere");
    assert_eq!(run.to_string().matches("matches nothing").count(), 1, "{run}");
    w.run(&["build"]).success().never_says("matches nothing").never_says("leads nowhere");
    // Another task is due.
    w.file("x", "2").run(&["build"]).success().never_says("matches nothing").says("leads nowhere");
    w.file("t/2", "").run(&["build"]).success().says("matches nothing").never_says("leads nowhere");
    let validated = w.run(&["validate"]);
    validated.success().says("2 more of the instances of T1");
    assert_eq!(validated.to_string().matches("build::no_input").count(), 1, "{validated}");
}

#[test]
fn a_flood_of_inputs_that_are_not_there_is_cut_short() {
    let task = |number: usize| format!("  T{number}: {{ inputs: [gone/{number}], run: 'true' }}\n");
    let w = World::new(&format!("tasks:\n{}", (0..300).map(task).collect::<String>()));
    let run = w.run(&["validate"]);
    run.success().says("200 more inputs look wrong in this way").says("101 warnings");
}

#[test]
fn a_folder_in_place_of_a_file_and_back_is_seen() {
    let w = World::new("tasks: { T1: { inputs: [x], outputs: [o], run: ls -d x/* > o || echo file > o } }");
    w.file("x", "1").build(&[]).success();
    w.remove("x").file("x/y", "1").build(&[]).success().ran(&["T1"]);
    assert_eq!(w.read("o"), "x/y\n");
    w.file("x/z", "1").build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
    w.remove("x").file("x", "1").build(&[]).success().ran(&["T1"]);
    w.build(&[]).runs_nothing();
}

#[test]
fn a_deep_tree_and_a_large_file_are_inputs() {
    let w = World::new("tasks: { T1: { inputs: [\"d/**\", big], outputs: [o], run: wc -c < big > o } }");
    let deep = format!("d/{}", vec!["x"; 100].join("/"));
    w.file(format!("{deep}/f"), "1").file("big", vec![b'x'; 8 << 20]).build(&[]).success();
    w.build(&[]).runs_nothing();
    w.file(format!("{deep}/f"), "2").build(&[]).success().ran(&["T1"]);
}

#[test]
fn a_glob_does_not_wait_for_a_file_that_it_does_not_match() {
    let w = World::new(
        "tasks:
  T1: { inputs: [\"**/*.txt\"], outputs: [x], run: cat *.txt > x }
  T2: { inputs: [x], outputs: [y.bin], run: cp x y.bin }
",
    );
    w.file("a.txt", "1").build(&[]).success().ran(&["T1", "T2"]);
    w.build(&[]).runs_nothing();
    w.file("a.txt", "2").build(&[]).success().ran(&["T1", "T2"]);
}

#[test]
fn an_output_that_is_a_folder_though_it_is_declared_as_a_file_must_not_surprise_its_readers() {
    let w = World::new(
        "tasks:
  T1: { inputs: [], outputs: [dist], run: mkdir dist; echo 1 > dist/a.txt }
  T2: { inputs: [\"dist/*.txt\"], outputs: [o], run: cat dist/*.txt > o }
",
    );
    // The pattern names the folder, so it waits.
    w.build(&[]).success().ran(&["T1", "T2"]);
    w.build(&[]).runs_nothing();
    w.manifest(
        "tasks:
  T1: { inputs: [], outputs: [dist], run: mkdir dist; echo 2 > dist/a.txt }
  T2: { inputs: [\"**/*.txt\"], outputs: [o], run: find . -name '*.txt' > o }
",
    );
    w.build(&["T1"]).fails_with(1).failed(&["T1"]);
    w.run(&["build", "T1"]).fails_with(1).says("write `dist/` under the outputs of T1");
    w.manifest(
        "tasks:
  T1: { inputs: [], outputs: [dist/], run: echo 2 > dist/a.txt }
  T2: { inputs: [\"**/*.txt\"], outputs: [o], run: cat dist/*.txt > o }
",
    );
    w.build(&[]).success().ran(&["T1", "T2"]);
    assert_eq!(w.read("o"), "2\n");
    w.build(&[]).runs_nothing();
}
