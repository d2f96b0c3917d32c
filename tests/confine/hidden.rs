//! What may be read, and what may not.

use std::fs;

use conductor::process::End;

use crate::world::{World, all_means, has, is_landlock};

#[test]
fn what_is_hidden_cannot_be_read_or_listed_by_whatever_way() {
    for support in all_means() {
        let world = World::new(&support);
        std::os::unix::fs::symlink(world.path().join("root/src"), world.path().join("beside/link")).unwrap();
        for script in [
            "cat \"$W/root/src/secret\"",
            "cat ../../../src/secret",
            "cat /proc/self/cwd/../../../src/secret",
            "cat /proc/self/root\"$W/root/src/secret\"",
            "cat \"$W/beside/link/secret\"",
            "ln -s \"$W/root/src/secret\" to; cat to",
            "ls \"$W/root/src\"",
            "cp -r \"$W/root/src\" copy",
            "mv \"$W/root/src/secret\" .",
            "ln \"$W/root/src/secret\" .",
            "cd \"$W/root/src\" && cat secret",
        ] {
            world.refuses(script);
        }
        let (_, output) = world.sh("ls \"$W/root\" ../../.. . || true");
        assert!(!output.contains("src"), "{output}");
    }
}

#[test]
fn what_is_granted_inside_a_hidden_folder_and_all_beside_it_can_be_read() {
    for support in all_means() {
        let world = World::new(&support);
        world.allows(
            "[ \"$(cat \"$W/root/docs/open\")\" = open ]; [ \"$(cat \"$W/beside/file\")\" = beside ]
             [ \"$(ls \"$W/root/docs\")\" = open ]; [ \"$(pwd -P)\" = \"$W/root/.conductor/workspaces/T1\" ]
             ls /usr /etc /lib /bin/sh /proc/self/status > /dev/null; grep -q . /etc/passwd /proc/self/status
             [ \"$(realpath .)\" = \"$(pwd -P)\" ]; find . -name x; date; id",
        );
    }
}

#[test]
fn the_innermost_of_several_paths_decides() {
    for support in all_means() {
        let mut world = World::new(&support);
        let root = world.path().join("root");
        fs::create_dir_all(root.join("docs/inner/open")).unwrap();
        fs::write(root.join("docs/inner/secret"), "secret").unwrap();
        fs::write(root.join("docs/inner/open/file"), "open").unwrap();
        world.confinement.hide.push(root.join("docs/inner"));
        world.confinement.read.push(root.join("docs/inner/open"));
        // A single file, hidden, and one that may be written.
        world.confinement.hide.push(world.path().join("beside/file"));
        fs::write(world.path().join("beside/mine"), "").unwrap();
        world.confinement.write.push(world.path().join("beside/mine"));
        world.allows(
            "cat \"$W/root/docs/open\" \"$W/root/docs/inner/open/file\" && echo x > \"$W/beside/mine\"",
        );
        world.refuses("cat \"$W/root/docs/inner/secret\"");
        world.refuses("cat \"$W/beside/file\"");
        world.refuses("echo x > \"$W/root/docs/inner/open/file\"");
        // What may be written lies around what is hidden.
        world.confinement.write = vec![root.clone()];
        world.confinement.hide = vec![root.join("src")];
        world.allows("echo x > \"$W/root/docs/new\"");
        world.refuses("cat \"$W/root/src/secret\"");
    }
}

#[test]
fn a_compiler_and_git_and_scripts_work() {
    for support in all_means() {
        let world = World::new(&support);
        world.allows("printf '#!/bin/sh\\necho script\\n' > s; chmod +x s; [ \"$(./s)\" = script ]");
        if has("cc") {
            world.allows(
                "printf '#include <stdio.h>\\nint main(void) { return puts(\"made\") < 0; }\\n' > a.c
                 cc -o a a.c; [ \"$(./a)\" = made ]",
            );
        }
        if has("git") {
            world.allows(
                "git init -q .; git config user.name A; git config user.email a@b; echo x > f; git add f
                 git commit -qm one; [ \"$(git log --format=%s)\" = one ]; git status > /dev/null; git gc -q",
            );
        }
    }
}

#[test]
fn other_processes_are_neither_read_nor_signalled() {
    for support in all_means() {
        let world = World::new(&support);
        let pid = std::process::id();
        for file in ["environ", "mem", "root/etc/passwd", "cwd/Cargo.toml", "fd/0"] {
            world.refuses(&format!("head -c 1 /proc/{pid}/{file}"));
        }
        world.allows("sleep 100 & kill -0 $!; head -c 1 /proc/$!/environ > /dev/null; kill $!");
        if is_landlock(&support) && crate::world::kernel_is_at_least(6, 12) {
            let mut outside = std::process::Command::new("/bin/sleep").arg("100").spawn().unwrap();
            let (_, output) = world.sh(&format!("kill -9 {} || echo refused", outside.id()));
            assert!(output.contains("Operation not permitted") || output.contains("refused"), "{output}");
            assert!(outside.try_wait().unwrap().is_none(), "it was not ended");
            outside.kill().unwrap();
            outside.wait().unwrap();
        }
    }
}

#[test]
fn without_hidden_folders_all_can_be_read_and_listed() {
    for support in all_means() {
        let mut world = World::new(&support);
        world.confinement.hide.clear();
        world.allows("ls / \"$W\" \"$W/root\" > /dev/null; [ \"$(cat \"$W/root/src/secret\")\" = secret ]");
        world.refuses("echo x > \"$W/root/src/secret\"");
        world.confinement.hide.push("/".into());
        // Not even the loader of programs.
        assert!(world.run(&["/bin/true".into()]).is_err() || !matches!(world.sh("true").0, End::Exited(0)));
    }
}
