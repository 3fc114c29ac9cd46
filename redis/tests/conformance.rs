//! The connector with a real server, under every rule of `pool_testkit::conformance`.

#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    reason = "the place of a panic shows what is wrong"
)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use pool_redis::{RedisConnection, RedisConnector, Server};
use pool_testkit::conformance::{self, Rule, Subject};

#[tokio::test]
async fn a_connector_of_redis_keeps_every_rule() {
    let Some(server) = Server::start(&[]).await.unwrap() else {
        return; // Said on stderr.
    };
    let stopped = Server::start(&[]).await.unwrap().unwrap();
    let locked = Server::start(&["--requirepass", "secret"]).await;
    let locked = locked.unwrap().unwrap();
    stopped.stop().unwrap();
    let address = server.address();
    let subject = Subject::new(RedisConnector::new(address))
        .stalling(RedisConnector::new(stopped.address()))
        .failing_permanently(RedisConnector::new(locked.address()))
        .failing_transiently(RedisConnector::new(refused()))
        .exchange(async |connection: &mut RedisConnection, number| {
            Ok(connection.echo(&number.to_string()).await?.parse()?)
        })
        .dirty(async |connection: &mut RedisConnection| Ok(connection.send(&["PING"]).await?))
        .kill(move |connection: &RedisConnection| {
            let killed = connection.local_address().unwrap();
            async move {
                let mut other = RedisConnection::connect(address).await.unwrap();
                other.kill_other(killed).await.unwrap();
            }
        })
        .resources(move || connected_sockets(address.port()))
        .waive(
            Rule::DiedResolves,
            "nobody reads the socket of an idle connection; `is_alive` looks at it",
        )
        .waive(Rule::DiedWaits, "as above");
    conformance::run(subject).await.assert_proven();
}

/// An address where nobody listens.
fn refused() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// The sockets of this machine that are connected to this port, by inode.
fn connected_sockets(port: u16) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let sockets = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[2] == remote && fields[3] == ESTABLISHED).then(|| fields[9].to_owned())
    });
    sockets.collect()
}

const ESTABLISHED: &str = "01";
