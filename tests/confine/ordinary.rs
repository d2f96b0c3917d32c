//! The same as an ordinary user, where root runs the tests.

use std::process::Command;

use crate::world::conductor;

/// Set in the run as an ordinary user.
const AGAIN: &str = "CONDUCTOR_TEST_AS_ORDINARY_USER";

#[test]
fn all_of_it_holds_for_an_ordinary_user_too() {
    if std::env::var_os(AGAIN).is_some() || !rustix::process::geteuid().is_root() {
        return;
    }
    let this = std::env::current_exe().unwrap();
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    let reachable = |program: &std::path::Path| {
        let mut tried = Command::new(as_nobody.get_program());
        tried.args(as_nobody.get_args()).args(["test", "-x"]).arg(program);
        tried.status().is_ok_and(|status| status.success())
    };
    if !reachable(&this) || !reachable(conductor()) {
        return eprintln!(
            "SKIPPED: there is no `setpriv`, or an ordinary user cannot reach {}",
            this.display()
        );
    }
    let said = as_nobody.arg(&this).args(["--nocapture"]).env(AGAIN, "1").output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{text}");
    assert!(text.contains("test result: ok"), "{text}");
    text.lines().filter(|line| line.contains("SKIPPED")).for_each(|line| eprintln!("{line}"));
}
