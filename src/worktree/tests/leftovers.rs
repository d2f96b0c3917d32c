//! What killed runs leave, in every half state, and that nothing else is ever removed.

use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use super::*;

/// Makes a worktree, lets `damage` do what a crash does, then checks that a new one takes its place and that recovery
/// leaves nothing.
#[track_caller]
fn check(damage: &dyn Fn(&Ground, &Linked)) {
    for recover in [true, false] {
        let ground = Ground::new();
        let repository = ground.repository();
        let linked = repository.create("T1", &ground.place("T1")).unwrap();
        fill(linked.place(), &[("a", "a"), ("d/b", "b")]);
        linked.snapshot(&paths(&["a", "d/b"])).unwrap();
        damage(&ground, &linked);
        drop((linked, repository));
        let repository = ground.repository().knowing(|_| true);
        if recover {
            repository.recover(&ground.workspaces()).unwrap();
            ground.check_nothing_left();
        }
        let linked = repository.create("T1", &ground.place("T1")).unwrap();
        assert_eq!(git(linked.place(), &["status", "--porcelain", "--ignored"]), "");
        assert_eq!(fs::read_dir(linked.place()).unwrap().count(), 1, "nothing but `.git`");
        assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 2);
        linked.remove().unwrap();
        repository.recover(&ground.workspaces()).unwrap();
        ground.check_nothing_left();
    }
}

#[test]
fn whatever_a_killed_run_left_is_replaced_and_recovered() {
    check(&|_, _| {});
    check(&|_, linked| fs::write(linked.git_dir().join("locked"), "initializing").unwrap());
    check(&|_, linked| fs::remove_dir_all(linked.place()).unwrap());
    check(&|_, linked| fs::remove_file(linked.place().join(".git")).unwrap());
    check(&|_, linked| fs::remove_dir_all(linked.git_dir()).unwrap());
    check(&|_, linked| fs::remove_file(linked.git_dir().join("HEAD")).unwrap());
    check(&|_, linked| fs::remove_file(linked.git_dir().join("commondir")).unwrap());
    check(&|_, linked| fs::write(linked.git_dir().join("HEAD"), "").unwrap());
    check(&|_, linked| fs::write(linked.git_dir().join("index"), "half").unwrap());
    check(&|_, linked| fs::write(linked.git_dir().join("index.lock"), "half").unwrap());
    check(&|ground, linked| {
        fs::create_dir_all(ground.top.join(".git/conductor/unfinished")).unwrap();
        let name = linked.git_dir().file_name().unwrap().to_str().unwrap()["conductor-".len()..]
            .split('-')
            .next()
            .unwrap();
        fs::create_dir(ground.top.join(format!(".git/conductor/unfinished/{name}-abc"))).unwrap();
    });
    check(&|ground, linked| {
        fs::rename(linked.place(), ground.place(".conductor-going-abc")).unwrap();
    });
    check(&|_, linked| {
        for folder in [linked.place().join("d"), linked.place().to_owned()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
        }
    });
    check(&|_, linked| {
        // A task that worked with git on its own: a branch, a commit, a lock.
        git(linked.place(), &["switch", "-q", "-c", "work"]);
        git(linked.place(), &["commit", "-q", "--allow-empty", "-m", "wip"]);
        git(linked.place(), &["worktree", "lock", "."]);
        git(linked.place(), &["switch", "-q", "--detach"]);
        git(linked.place(), &["branch", "-D", "-q", "work"]);
    });
}

#[test]
fn an_entry_without_a_place_is_replaced_by_its_name() {
    let ground = Ground::new();
    let repository = ground.repository();
    let linked = repository.create("T1", &ground.place("T1")).unwrap();
    let entry = linked.git_dir().to_owned();
    fs::write(entry.join("gitdir"), "").unwrap();
    fs::write(entry.join("locked"), "initializing").unwrap();
    assert_eq!(repository.create("T1", &ground.place("T1")).unwrap().git_dir(), entry);
}

#[test]
fn what_git_itself_leaves_when_it_is_killed_is_recovered() {
    let ground = Ground::new();
    let many: Vec<String> = (0..300).map(|number| format!("many/{number}")).collect();
    for name in &many {
        ground.file(name, name);
    }
    // A checkout that hangs in a filter, so that it is killed in its middle.
    ground.file(".gitattributes", "slow filter=slow\n").file("slow", "slow\n").commit("many");
    ground.git(&["config", "filter.slow.smudge", "echo here >&2; exec sleep 1000"]);
    let place = ground.place("T1");
    fs::create_dir_all(ground.workspaces()).unwrap();
    let mut add = command(&ground.top, &["worktree", "add", "--detach", place.to_str().unwrap()]);
    add.env("GIT_TRACE", "0").stderr(Stdio::piped());
    let mut add = std::os::unix::process::CommandExt::process_group(&mut add, 0).spawn().unwrap();
    let mut said = Vec::new();
    let mut errors = add.stderr.take().unwrap();
    while !String::from_utf8_lossy(&said).contains("here") {
        let mut byte = [0];
        assert_eq!(errors.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    let group = rustix::process::Pid::from_child(&add);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    add.wait().unwrap();
    assert!(ground.top.join(".git/worktrees/T1/locked").exists(), "killed too late");
    let repository = ground.repository().knowing(|_| true);
    assert_eq!(repository.leftovers(&ground.workspaces()).unwrap().len(), 1);
    let linked = repository.create("T1", &place).unwrap();
    assert_eq!(fs::read_dir(linked.place()).unwrap().count(), 1);
    linked.remove().unwrap();
    ground.check_nothing_left();
}

#[test]
fn what_somebody_else_put_below_the_folder_of_worktrees_stays_locked_or_not() {
    let ground = Ground::new();
    let repository = ground.repository();
    for (name, lock) in [("duck", &[][..]), ("locked", &["--lock"]), ("gone", &["--lock"]), ("plain", &[])] {
        let place = format!(".conductor/workspaces/{name}");
        ground.git(&[&["worktree", "add", "-q", "--detach"], lock, &[&place]].concat());
        ground.file(format!("{place}/new"), "hours of work");
    }
    fs::remove_dir_all(ground.place("gone")).unwrap();
    fs::remove_file(ground.place("plain").join(".git")).unwrap();
    let before = ground.git(&["worktree", "list", "--porcelain"]);
    assert!(repository.recover(&ground.workspaces()).unwrap().is_empty());
    assert!(repository.leftovers(&ground.workspaces()).unwrap().is_empty());
    for name in ["duck", "locked", "gone", "plain"] {
        let error = repository.create(name, &ground.place(name)).unwrap_err();
        assert!(matches!(error, Error::Occupied { .. }), "{name}: {error}");
    }
    assert_eq!(ground.git(&["worktree", "list", "--porcelain"]), before);
    for name in ["duck", "locked", "plain"] {
        assert_eq!(ground.read(&format!(".conductor/workspaces/{name}/new")), "hours of work");
    }
    // A branch that such a worktree has checked out is in use.
    ground.git(&["branch", "conductor/T1"]);
    git(&ground.place("duck"), &["switch", "-q", "conductor/T1"]);
    assert!(matches!(repository.delete_branch("conductor/T1"), Err(Error::CheckedOut { .. })));
}

#[test]
fn where_somebody_elses_folder_took_a_worktrees_place_the_entry_alone_goes() {
    let ground = Ground::new();
    let linked = ground.repository().create("T1", &ground.place("T1")).unwrap();
    fs::remove_dir_all(linked.place()).unwrap();
    ground.file(".conductor/workspaces/T1/mine", "mine");
    assert!(ground.repository().recover(&ground.workspaces()).unwrap().is_empty());
    assert_eq!(ground.read(".conductor/workspaces/T1/mine"), "mine");
    assert_eq!(ground.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn a_person_s_worktrees_and_folders_stay() {
    let ground = Ground::new();
    let repository = ground.repository();
    let name = {
        let linked = repository.create("T1", &ground.place("T1")).unwrap();
        let name = linked.git_dir().file_name().unwrap().to_str().unwrap().to_owned();
        linked.remove().unwrap();
        name
    };
    // By chance of the same name, and outside of conductor's folder.
    ground.git(&["worktree", "add", "-q", "--detach", &format!("../{name}")]);
    ground.git(&["worktree", "add", "-q", "--detach", "../gone"]);
    fs::remove_dir_all(ground.top.join("../gone")).unwrap();
    ground.file(".conductor/workspaces/sandbox/file", "not a worktree");
    let linked = repository.create("T1", &ground.place("T1")).unwrap();
    assert!(linked.git_dir().ends_with(format!("{name}-2")));
    assert_eq!(repository.recover(&ground.workspaces()).unwrap(), [ground.place("T1")]);
    let list = ground.git(&["worktree", "list"]);
    assert!(list.contains(&name) && list.contains("gone") && list.lines().count() == 3, "{list}");
    assert_eq!(ground.read(".conductor/workspaces/sandbox/file"), "not a worktree");
    let error = repository.create("T1", &ground.top.join("../elsewhere")).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    git(&ground.workspaces(), &["init", "-q", "T2"]);
    let error = repository.create("T2", &ground.place("T2")).unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    symlink(outside.path(), ground.place("T3")).unwrap();
    let error = repository.create("T3", &ground.place("T3")).unwrap_err();
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert!(outside.path().join("precious").exists());
}

#[test]
fn what_is_kept_is_recovered_only_when_it_is_asked_for() {
    let ground = Ground::new();
    let repository = ground.repository();
    let linked = repository.create("T1", &ground.place("T1")).unwrap();
    linked.keep("T1 failed").unwrap();
    assert!(repository.recover(&ground.workspaces()).unwrap().is_empty());
    let mut leftovers = repository.leftovers(&ground.workspaces()).unwrap();
    assert_eq!(leftovers[0].kept.as_deref(), Some("T1 failed"));
    repository.discard(&leftovers.remove(0)).unwrap();
    ground.check_nothing_left();
}

#[test]
fn a_repository_that_was_moved_recovers_its_worktrees() {
    let mut ground = Ground::new();
    ground.repository().create("T1", &ground.place("T1")).unwrap();
    let moved = ground.top.with_file_name("moved");
    fs::rename(&ground.top, &moved).unwrap();
    ground.top = moved;
    assert_eq!(ground.repository().recover(&ground.workspaces()).unwrap(), [ground.place("T1")]);
    ground.check_nothing_left();
}
