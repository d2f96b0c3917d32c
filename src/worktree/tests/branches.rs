//! Branches of tasks, moved only from where they are known to be.

use super::*;

fn two() -> (Ground, String, String) {
    let ground = Ground::new();
    let first = ground.git(&["rev-parse", "HEAD"]);
    let second = ground.file("a", "2").commit("second");
    (ground, first, second)
}

#[test]
fn a_branch_moves_only_from_where_it_is_expected() {
    let (ground, first, second) = two();
    let repository = ground.repository();
    let tip = || repository.branch_tip("conductor/T1").unwrap();
    let set = |old: Option<&str>, new: Option<&str>| repository.set_branch("conductor/T1", old, new);
    assert_eq!(tip(), None);
    assert!(matches!(set(Some(&first), Some(&second)), Err(Error::Moved { .. })));
    set(None, Some(&first)).unwrap();
    assert_eq!(tip(), Some(first.clone()));
    assert!(matches!(set(None, Some(&second)), Err(Error::Moved { .. })));
    assert!(matches!(set(Some(&second), None), Err(Error::Moved { .. })));
    set(Some(&first), Some(&second)).unwrap();
    set(Some(&second), Some(&second)).unwrap();
    ground.git(&["branch", "-f", "conductor/T1", &first]);
    let error = set(Some(&second), Some(&second)).unwrap_err().to_string();
    assert!(error.contains("conductor/T1") && error.contains(&first) && error.contains(&second), "{error}");
    ground.git(&["pack-refs", "--all"]);
    set(Some(&first), Some(&second)).unwrap();
    assert_eq!(ground.git(&["rev-parse", "conductor/T1"]), second);
    ground.git(&["pack-refs", "--all"]);
    set(Some(&second), None).unwrap();
    assert_eq!(ground.git(&["branch", "--list", "conductor/*"]), "");
    repository.delete_branch("conductor/T1").unwrap();
    ground.check_sound();
}

#[test]
fn branches_are_listed_and_removed() {
    let (ground, first, _) = two();
    let repository = ground.repository();
    for id in ["T1", "api:T1", "T1[os=a,v=1]"] {
        repository.set_branch(&branch_name(id), None, Some(&first)).unwrap();
    }
    let names = ["conductor/T1", "conductor/T1@os=a,v=1", "conductor/api@T1"];
    assert_eq!(repository.branches().unwrap(), names);
    assert_eq!(
        ground.git(&["branch", "--list", "--format=%(refname:short)", "conductor/*"]),
        names.join("\n")
    );
    for name in names {
        repository.delete_branch(name).unwrap();
    }
    assert_eq!(ground.git(&["branch", "--format=%(refname:short)"]), "main");
}

#[test]
fn a_branch_in_the_way_is_named() {
    let (ground, first, _) = two();
    ground.git(&["branch", "conductor"]);
    let error = ground.repository().set_branch("conductor/T1", None, Some(&first)).unwrap_err().to_string();
    assert!(error.contains("branch `conductor`,") && error.contains("git branch -m conductor"), "{error}");
    ground.git(&["branch", "-D", "-q", "conductor"]);
    ground.git(&["branch", "conductor/T1/x"]);
    let error = ground.repository().set_branch("conductor/T1", None, Some(&first)).unwrap_err().to_string();
    assert!(error.contains("conductor/T1/x"), "{error}");
    let error = ground.repository().set_branch("a..b", None, Some(&first)).unwrap_err();
    assert!(matches!(error, Error::BadName { .. }), "{error}");
    let error = ground.repository().set_branch("x", None, Some("no id")).unwrap_err().to_string();
    assert!(error.contains("no id"), "{error}");
}

#[test]
fn a_branch_that_is_checked_out_stays() {
    let (ground, first, second) = two();
    let repository = ground.repository();
    let moves = || {
        let error = repository.set_branch("conductor/T1", Some(&first), Some(&second)).unwrap_err();
        assert!(matches!(error, Error::CheckedOut { .. }), "{error}");
        assert!(matches!(repository.delete_branch("conductor/T1"), Err(Error::CheckedOut { .. })));
        assert!(matches!(repository.keep_aside("conductor/T1", "r"), Err(Error::CheckedOut { .. })));
        error.to_string()
    };
    ground.git(&["branch", "conductor/T1", &first]);
    ground.git(&["worktree", "add", "-q", "../linked", "conductor/T1"]);
    let linked = ground.top.join("../linked").canonicalize().unwrap();
    assert!(moves().contains(linked.to_str().unwrap()));
    git(&linked, &["switch", "-q", "--detach"]);
    ground.git(&["switch", "-q", "conductor/T1"]);
    assert!(moves().contains("switch --detach"));
    ground.git(&["switch", "-q", "main"]);
    // A task that switched its own worktree to the branch is no hindrance.
    let own = repository.create("T1", &ground.place("T1")).unwrap();
    git(own.place(), &["switch", "-q", "conductor/T1"]);
    repository.set_branch("conductor/T1", Some(&first), Some(&second)).unwrap();
}

#[test]
fn a_tip_that_somebody_else_made_is_kept_aside() {
    let (ground, first, second) = two();
    let repository = ground.repository();
    assert_eq!(repository.keep_aside("conductor/T1", "20261125-1").unwrap(), None);
    for (tip, name) in [
        (&first, "conductor-kept/20261125-1/T1"),
        (&second, "conductor-kept/20261125-1/T1-2"),
        (&first, "conductor-kept/20261125-1/T1"),
    ] {
        repository.set_branch("conductor/T1", None, Some(tip)).unwrap();
        assert_eq!(repository.keep_aside("conductor/T1", "20261125-1").unwrap().as_deref(), Some(name));
        assert_eq!(&ground.git(&["rev-parse", name]), tip);
        assert_eq!(repository.branch_tip("conductor/T1").unwrap(), None);
    }
    assert!(repository.branches().unwrap().is_empty(), "a kept tip is no task's branch");
}

#[test]
fn hooks_do_not_run_when_a_branch_moves() {
    let ground = super::linked::with_hooks();
    let first = ground.git(&["rev-parse", "HEAD"]);
    ground.repository().set_branch("conductor/T1", None, Some(&first)).unwrap();
    ground.repository().delete_branch("conductor/T1").unwrap();
    assert!(!ground.top.join("../hook-ran").exists());
}
