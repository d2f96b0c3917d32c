//! A confined process is a process like any other: its end, its output, its descriptors, how it is stopped.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use conductor::process::confine::{Files, Support};
use conductor::process::{End, SpawnError};

use crate::world::{World, all_means, conductor, has, is_landlock};

#[test]
fn it_ends_as_its_program_ends() {
    for support in all_means() {
        let world = World::new(&support);
        for code in [0, 1, 2, 125, 126, 127, 255] {
            assert_eq!(world.sh(&format!("exit {code}")).0, End::Exited(code));
        }
        for (name, signal) in [("SEGV", 11), ("KILL", 9), ("TERM", 15), ("PIPE", 13)] {
            let expected =
                if is_landlock(&support) { End::Signalled(signal) } else { End::Exited(128 + signal) };
            assert_eq!(world.sh(&format!("kill -{name} $$")).0, expected);
        }
    }
}

#[test]
fn a_program_that_cannot_be_started_is_told_as_without_confinement() {
    // Whatever this test inherited itself, both inherit.
    let plain = World::new(&Support::nothing());
    for support in all_means() {
        let world = World::new(&support);
        for world in [&plain, &world] {
            for (file, text) in [("no interpreter", "#!/no/such/program\n"), ("no format", "echo ran\n")] {
                fs::write(world.inside().join(file), text).unwrap();
                fs::set_permissions(world.inside().join(file), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        for program in ["/no/such/program", "/etc/passwd", "/etc", "no interpreter", "no format"] {
            let told = |world: &World| {
                let error = world.run(&[world.inside().join(program).into()]).unwrap_err();
                let inside = world.inside().display().to_string();
                let source = std::error::Error::source(&error).map(ToString::to_string);
                (error.to_string().replace(&inside, ""), source)
            };
            assert_eq!(told(&world), told(&plain), "{program}");
        }
        let hidden = world.path().join("root/src/program");
        fs::copy("/bin/true", &hidden).unwrap();
        assert!(matches!(
            world.run(&[hidden.into()]).unwrap_err(),
            SpawnError::Other { .. } | SpawnError::NotFound(_)
        ));
    }
}

#[test]
fn what_is_no_helper_starts_nothing() {
    for support in all_means() {
        for helper in ["/bin/true", "/bin/false", "/no/such/conductor"] {
            let mut world = World::new(&support);
            world.confinement.support.helper = helper.into();
            let error = world.run(&["/bin/touch", "ran"].map(Into::into)).unwrap_err();
            assert!(matches!(error, SpawnError::NotConfined { .. }), "{error}");
            assert!(!world.inside().join("ran").exists());
        }
        // An ordinary test program in its place.
        let mut world = World::new(&support);
        world.confinement.support.helper = std::env::current_exe().unwrap();
        let error = world.run(&["/bin/touch", "ran"].map(Into::into)).unwrap_err();
        assert!(matches!(error, SpawnError::NotConfined { .. }), "{error}");
        assert!(!world.inside().join("ran").exists());
    }
}

#[test]
fn its_streams_descriptors_folder_and_environment_are_as_without_confinement() {
    let script = "cat; echo out; echo err >&2; echo out again; ls /proc/self/fd; grep Sig[PBIC] /proc/self/status; umask
                  [ /proc/$$/fd/1 -ef /proc/$$/fd/2 ] && echo one pipe; env | grep -v ^W= | sort | grep -v tmp";
    // Whatever this test inherited itself, both inherit.
    let plain = World::new(&Support::nothing()).sh(script);
    assert!(plain.1.starts_with("stdin\nout\nerr\nout again\n0\n1\n"), "{}", plain.1);
    for support in all_means().into_iter().filter(is_landlock) {
        let world = World::new(&support);
        assert_eq!(world.sh(script), plain);
        world.allows("set -- $(cat /proc/$$/stat); [ \"$5\" = $$ ]; [ \"$4\" = $PPID ]");
        world.allows(&format!("[ $PPID = {} ]", std::process::id()));
    }
}

#[test]
fn arguments_are_any_bytes_and_nearly_as_many_as_without_confinement() {
    for support in all_means() {
        let world = World::new(&support);
        let strange = OsString::from_vec(b"\xff\n'\"$(x) \xc3".to_vec());
        let long = OsString::from("x".repeat(128 * 1024 - 1));
        let mut argv: Vec<OsString> =
            ["/bin/sh", "-c", "printf '%s\\n' \"$1\"; printf %s \"$@\" | wc -c", "sh"]
                .map(Into::into)
                .to_vec();
        argv.push(strange.clone());
        argv.extend(std::iter::repeat_n(long, 12));
        argv.push("--".into());
        argv.push("--write".into());
        let (ended, output) = world.run(&argv).unwrap();
        assert_eq!(ended.end, End::Exited(0));
        let lines: Vec<&str> = output.lines().collect();
        let bytes = strange.len() + 12 * (128 * 1024 - 1) + 2 + 7;
        assert_eq!(lines.last().unwrap().trim(), bytes.to_string());
        argv.extend(std::iter::repeat_n(OsString::from("x".repeat(128 * 1024 - 1)), 30));
        let error = world.run(&argv).unwrap_err();
        assert!(format!("{error:?}").contains("rgument list too long"), "{error:?}");
    }
}

#[test]
fn names_that_are_not_utf_8_can_be_written_and_hidden() {
    for support in all_means() {
        let mut world = World::new(&support);
        let own = world.path().join(OsString::from_vec(b"own \xff".to_vec()));
        let other = world.path().join(OsString::from_vec(b"other \xff".to_vec()));
        fs::create_dir(&own).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("secret"), "secret").unwrap();
        world.confinement.write.push(own);
        world.confinement.hide.push(other);
        world.allows("echo x > \"$W\"/\"$(printf 'own \\377')\"/file");
        world.refuses("cat \"$W\"/\"$(printf 'other \\377')\"/secret");
    }
}

#[test]
fn a_timeout_stops_it_gently_and_all_that_it_started() {
    for support in all_means() {
        let mut world = World::new(&support);
        world.timeout = Some(Duration::from_millis(1500));
        let (end, output) = world
            .sh("trap 'echo bye; exit 0' TERM; setsid sh -c 'echo $$ > grandchild; exec sleep 100' & wait");
        assert_eq!(end, End::TimedOut);
        if is_landlock(&support) {
            assert_eq!(output, "bye\n");
        }
        let pid = fs::read_to_string(world.inside().join("grandchild")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "the grandchild is gone");
    }
}

#[test]
fn a_daemon_that_it_left_does_not_survive_it() {
    for support in all_means() {
        let world = World::new(&support);
        world.allows(
            "setsid sh -c 'echo $$ > left; exec sleep 100' & while ! [ -s left ]; do sleep 0.01; done",
        );
        let pid = fs::read_to_string(world.inside().join("left")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }
}

#[test]
fn what_its_environment_makes_the_loader_load_is_loaded_by_the_program_alone() {
    if !has("cc") {
        return eprintln!("SKIPPED: there is no `cc`");
    }
    for support in all_means() {
        let mut world = World::new(&support);
        world.allows(
            "printf '%s\\n' '#include <fcntl.h>' '__attribute__((constructor)) void loaded(void) {' \
             '    open(OUTSIDE, O_CREAT | O_WRONLY, 0600); open(\"loaded\", O_CREAT | O_WRONLY, 0600); }' > l.c
             cc -shared -fPIC -DOUTSIDE=\"\\\"$W/beside/escaped\\\"\" -o l.so l.c",
        );
        let library = world.inside().join("l.so");
        world.env.push(("LD_PRELOAD".into(), library.clone().into()));
        world.allows(&format!("[ \"$LD_PRELOAD\" = '{}' ]; [ -e loaded ]", library.display()));
        assert!(!world.path().join("beside/escaped").exists());
    }
}

#[test]
fn where_nothing_can_be_enforced_it_runs_and_that_is_told() {
    let mut world = World::new(&Support::nothing());
    world.confinement.network = false;
    world.allows("echo x > \"$W/beside/new\"");
    let told = world.confinement.unenforced();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("Landlock") && told[1].contains("network"), "{told:?}");
    world.confinement.network = true;
    assert_eq!(world.confinement.unenforced().len(), 1);
    for support in all_means() {
        let mut world = World::new(&support);
        world.confinement.network = false;
        assert!(world.confinement.unenforced().is_empty());
    }
    let old = Support { files: Files::Landlock { version: 1 }, ..Support::nothing() };
    assert!(World::new(&old).confinement.unenforced()[0].contains("truncated"));
}

#[test]
fn confinement_within_confinement_takes_more_away_and_gives_nothing_back() {
    for support in all_means().into_iter().filter(is_landlock) {
        let mut world = World::new(&support);
        world.confinement.network = false;
        fs::create_dir_all(world.inside().join("hidden")).unwrap();
        fs::create_dir_all(world.inside().join("a")).unwrap();
        fs::write(world.inside().join("hidden/secret"), "secret").unwrap();
        let inner = |script: &str| {
            format!(
                "'{}' __confine --landlock --write \"$PWD/a\" --write \"$W/beside\" \
                 --hide \"$PWD/hidden\" --read \"$W/root/src\" -- /bin/sh -euc '{script}' sh \"$W\"",
                conductor().display()
            )
        };
        world.allows(&inner("echo x > a/file; ls /usr /etc > /dev/null; cat a/file"));
        for script in
            ["echo x > file", "cat hidden/secret", "echo x > \"$1/beside/new\"", "cat \"$1/root/src/secret\""]
        {
            world.refuses(&inner(script));
        }
        world.allows(&format!("'{}' --version > /dev/null", conductor().display()));
    }
}
