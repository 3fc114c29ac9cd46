//! Processes that say when they live, and whose death is seen.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use pool_stdio::{ProcessWatch, WatchError};

use crate::rig::LIMIT;

/// Processes announce themselves here.
pub(crate) struct Beacons {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
}

/// A process that has announced itself. Its death is seen by the process itself, and not by the end of its
/// connection: under Wine 8 a connection stays open for ever whose process was killed inside a `send`.
pub(crate) struct Beacon {
    /// `None` if it was dead before it could be watched.
    process: Option<ProcessWatch>,
    /// It holds its end as long as it lives.
    _connection: TcpStream,
}

impl Beacons {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system allows it");
        let address = listener.local_addr().expect("the system allows it");
        let (sender, connections) = channel();
        // An accept has no deadline of its own.
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if sender.send(connection).is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            connections,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Waits until so many processes live.
    pub(crate) fn lit(&self, count: usize) -> Vec<Beacon> {
        (0..count).map(|_| self.lit_one()).collect()
    }

    fn lit_one(&self) -> Beacon {
        let connection = self.connections.recv_timeout(LIMIT);
        let connection = connection.expect("a process that says that it lives");
        connection
            .set_read_timeout(Some(LIMIT))
            .expect("the system allows it");
        let mut line = String::new();
        BufReader::new(&connection)
            .read_line(&mut line)
            .expect("it says who it is");
        let pid = line.split_whitespace().last().map(str::parse);
        let pid = pid.expect("a tag and a number").expect("a number");
        let process = match ProcessWatch::of(pid) {
            Ok(watch) => Some(watch),
            Err(WatchError::NotFound { .. }) => None,
            Err(error) => panic!("{error}: {error:?}"),
        };
        Beacon {
            process,
            _connection: connection,
        }
    }
}

impl Beacon {
    /// Resolves when the process is dead.
    pub(crate) async fn death(&self) {
        if let Some(process) = &self.process {
            process.ended().await;
        }
    }
}

/// Waits until all of them are dead.
pub(crate) async fn wait_for_deaths(beacons: Vec<Beacon>, what: &str) {
    for beacon in beacons {
        let in_time = tokio::time::timeout(LIMIT, beacon.death()).await;
        assert!(in_time.is_ok(), "it lives: {what}");
    }
}
