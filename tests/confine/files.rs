//! What may be written, and what may not.

use std::fs;

use conductor::process::End;

use crate::world::{World, all_means, is_landlock};

/// Nothing of what lies outside has changed.
#[track_caller]
fn assert_untouched(world: &World) {
    assert_eq!(fs::read_to_string(world.path().join("beside/file")).unwrap(), "beside\n");
    assert_eq!(fs::read_dir(world.path().join("beside")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(world.path().join("root/src/secret")).unwrap(), "secret\n");
    assert_eq!(fs::read_dir(world.path().join("root/src")).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(world.path().join("root/docs/open")).unwrap(), "open\n");
}

#[test]
fn everything_may_be_done_inside() {
    for support in all_means() {
        let world = World::new(&support);
        world.allows(
            "mkdir -p a/b; echo one > a/file; echo two >> a/file; mv a/file a/b/file; ln a/b/file hard
             ln -s a/b/file link; cat link hard > both; : > a/b/file; truncate -s 0 both; rm -r a; mkfifo pipe
             chmod 600 both; touch -d yesterday both; rm link hard pipe; mktemp > /dev/null
             [ \"$(ls)\" = both ]; echo home > \"$HOME/file\"",
        );
        assert_eq!(fs::read_to_string(world.path().join("tmp/file")).unwrap(), "home\n");
    }
}

#[test]
fn nothing_is_written_outside_by_whatever_way() {
    for support in all_means() {
        let world = World::new(&support);
        for script in [
            "echo x > \"$W/beside/new\"",
            "echo x >> \"$W/beside/file\"",
            "echo x > ../../../../beside/new",
            "echo x > ../new",
            "ln -s \"$W/beside\" out; echo x > out/new",
            "ln -s \"$W/beside/file\" to; echo x > to",
            "echo x > mine; mv mine \"$W/beside/mine\"",
            "mv \"$W/beside/file\" .",
            "ln \"$W/beside/file\" hard; echo x > hard",
            "echo x > mine2; ln mine2 \"$W/beside/hard\"",
            "rm \"$W/beside/file\"",
            "mkdir \"$W/beside/folder\"",
            "rmdir \"$W/root/docs\"",
            "ln -s x \"$W/beside/link\"",
            "mkfifo \"$W/beside/pipe\"",
            "truncate -s 0 \"$W/beside/file\"",
            ": > \"$W/root/docs/open\"",
            "echo x > \"$W/root/docs/new\"",
            "echo x > \"$W/root/src/secret\"",
            "echo x > \"$W/root/new\"",
            "echo x > /tmp/conductor-confinement",
            "echo x > /conductor-confinement",
        ] {
            world.refuses(script);
            assert_untouched(&world);
        }
    }
}

#[test]
fn no_device_is_made_or_written_but_those_that_every_program_needs() {
    for support in all_means() {
        let world = World::new(&support);
        world.refuses("mknod disk b 7 0");
        world.refuses("mknod memory c 1 1");
        world.allows(
            "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom > /dev/null
             echo x 2> /dev/null > /dev/stdout; [ -w /dev/shm ]; f=$(mktemp /dev/shm/confine-XXXXXX); rm \"$f\"",
        );
        let (_, output) = world.sh("echo x > /dev/full || echo full");
        assert!(output.contains("full"), "{output}");
    }
}

#[test]
fn a_loop_device_of_root_is_not_written() {
    for support in all_means() {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/loop0").exists() {
            return eprintln!("SKIPPED: not root, or no /dev/loop0");
        }
        let world = World::new(&support);
        world.refuses(
            "[ -b /dev/loop0 ] || { echo 'No such file or directory'; exit 1; }
             dd if=/dev/zero of=/dev/loop0 bs=1 count=0 conv=notrunc",
        );
    }
}

#[test]
fn root_cannot_mount_its_way_out() {
    for support in all_means() {
        let world = World::new(&support);
        let (_, output) = world.sh(
            "mkdir m; mount --bind \"$W/beside\" m && echo MOUNTED; mount -o remount,rw / && echo MOUNTED
             unshare -m mount --bind \"$W/beside\" m && echo MOUNTED
             unshare -Urm mount --bind \"$W/beside\" m && echo MOUNTED
             nsenter -t 1 -m touch \"$W/beside/new\" && echo ENTERED; echo end",
        );
        assert!(output.ends_with("end\n"), "{output}");
        assert!(!output.contains("ENTERED"), "{output}");
        if is_landlock(&support) {
            assert!(!output.contains("MOUNTED"), "{output}");
        }
        world.refuses("unshare -Urm sh -c 'mount --bind \"$1\" m; echo x > m/new' sh \"$W/beside\"");
        assert_untouched(&world);
    }
}

#[test]
fn a_grandchild_in_a_session_of_its_own_stays_confined() {
    for support in all_means() {
        let world = World::new(&support);
        world.allows(
            "setsid sh -c 'echo x > \"$1/beside/new\" || echo refused > late' sh \"$W\" 2> /dev/null &
             while ! [ -s late ]; do sleep 0.01; done",
        );
        assert_untouched(&world);
    }
}

#[test]
fn a_path_to_be_written_that_is_not_there_stops_it() {
    for support in all_means() {
        let mut world = World::new(&support);
        let missing = world.path().join("missing");
        world.confinement.write.push(missing.clone());
        world.confinement.read.push(world.path().join("missing too"));
        let error = world.run(&["/bin/true".into()]).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot confine /bin/true, so it was not started: "),
            "{error}"
        );
        assert!(error.to_string().contains(missing.to_str().unwrap()), "{error}");
        world.confinement.write.pop();
        assert_eq!(world.sh("true").0, End::Exited(0), "what may be read need not be there");
    }
}
