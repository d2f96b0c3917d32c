//! No network.

use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

use conductor::process::End;

use crate::world::{World, all_means};

/// Makes this program a client, when it is confined itself: the address to be tried.
const CONNECT: &str = "CONDUCTOR_TEST_CONNECT";

/// Runs this very test as a confined client of `address`. Says whether it got through, and what it said.
fn connects(world: &World, test: &str, address: &str) -> (bool, String) {
    let this = std::env::current_exe().unwrap();
    let argv = [this.into_os_string(), "--exact".into(), test.into(), "--nocapture".into()];
    let mut client = World::new(&world.confinement.support);
    client.confinement.network = world.confinement.network;
    client.env.push((CONNECT.into(), address.into()));
    let (ended, output) = client.run(&argv).unwrap();
    assert!(output.contains("1 passed") || output.contains("FAILED"), "{output}");
    (ended.end == End::Exited(0), output)
}

#[test]
fn a_listener_of_this_machine_is_reached_with_a_network_and_not_without() {
    if let Ok(address) = std::env::var(CONNECT) {
        return drop(TcpStream::connect(address).unwrap());
    }
    let test = "network::a_listener_of_this_machine_is_reached_with_a_network_and_not_without";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for support in all_means() {
        let mut world = World::new(&support);
        let (got_through, output) = connects(&world, test, &address);
        assert!(got_through, "{output}");
        listener.accept().unwrap();
        world.confinement.network = false;
        let (got_through, output) = connects(&world, test, &address);
        assert!(!got_through);
        // Nobody listens there, but there is a loopback.
        assert!(output.contains("ConnectionRefused"), "{output}");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing got through");
}

#[test]
fn without_a_network_the_loopback_is_ones_own_and_works() {
    if std::env::var_os(CONNECT).is_some() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::io::Write::write_all(&mut listener.accept().unwrap().0, b"hello").unwrap();
        let mut said = String::new();
        (&client).read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
        // The way to the world is not there at all.
        let out = UdpSocket::bind("0.0.0.0:0").unwrap();
        let error = out.send_to(b"x", "192.0.2.1:9").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NetworkUnreachable);
        return;
    }
    let test = "network::without_a_network_the_loopback_is_ones_own_and_works";
    for support in all_means() {
        let mut world = World::new(&support);
        world.confinement.network = false;
        let (done, output) = connects(&world, test, "");
        assert!(done, "{output}");
    }
}

#[test]
fn without_a_network_abstract_sockets_of_others_are_not_reached() {
    let name = std::env::var(CONNECT).unwrap_or_else(|_| format!("conductor-test-{}", std::process::id()));
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    if std::env::var_os(CONNECT).is_some() {
        return drop(UnixStream::connect_addr(&address).unwrap());
    }
    let test = "network::without_a_network_abstract_sockets_of_others_are_not_reached";
    let _listener = UnixListener::bind_addr(&address).unwrap();
    for support in all_means() {
        let mut world = World::new(&support);
        assert!(connects(&world, test, &name).0);
        world.confinement.network = false;
        assert!(!connects(&world, test, &name).0);
    }
}

#[test]
fn the_network_is_not_won_back_from_inside() {
    for support in all_means() {
        let mut world = World::new(&support);
        world.confinement.network = false;
        world.refuses("nsenter -t 1 -n true");
        world.refuses(&format!("nsenter -t {} -n true", std::process::id()));
        let (end, output) = world.sh("tail -n +3 /proc/net/dev | grep -v ' *lo:' || true; id -u");
        assert_eq!(end, End::Exited(0));
        assert_eq!(output, format!("{}\n", rustix::process::geteuid().as_raw()), "the loopback alone");
    }
}
