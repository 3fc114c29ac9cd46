//! Processes that say when they live, and whose death is seen.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::rig::LIMIT;

/// Processes announce themselves here, and are dead when their connection ends.
pub(crate) struct Beacons {
    listener: TcpListener,
}

impl Beacons {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the system allows it");
        Self { listener }
    }

    pub(crate) fn address(&self) -> String {
        self.listener
            .local_addr()
            .expect("the system allows it")
            .to_string()
    }

    /// Waits until so many processes live.
    pub(crate) fn lit(&self, count: usize) -> Vec<TcpStream> {
        let mut lit = Vec::new();
        // On Windows each connects once more, and leaves, when it is done.
        let mut to_come = if cfg!(windows) { count } else { 0 };
        while lit.len() < count || to_come > 0 {
            let (stream, _) = self.listener.accept().expect("the system allows it");
            stream
                .set_read_timeout(Some(LIMIT))
                .expect("the system allows it");
            let mut line = String::new();
            BufReader::new(&stream)
                .read_line(&mut line)
                .expect("the system allows it");
            if line.is_empty() {
                to_come -= 1;
                continue;
            }
            let second = Duration::from_secs(1);
            stream
                .set_read_timeout(Some(second))
                .expect("the system allows it");
            lit.push(stream);
        }
        lit
    }
}

/// Waits until the process is dead. The connection of one that was killed may be reset.
pub(crate) fn wait_for_death(mut beacon: TcpStream, what: &str) {
    for _ in 0..READS_MAX {
        match beacon.read(&mut [0]).map_err(|error| error.kind()) {
            Ok(count) => return assert_eq!(count, 0, "it says nothing more: {what}"),
            // Each read waits for a second, or for a signal to this process.
            Err(ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(kind) => return assert_eq!(kind, ErrorKind::ConnectionReset, "{what}"),
        }
    }
    panic!("it lives: {what}");
}

/// A minute and a half, if no signal cuts one short.
const READS_MAX: u32 = 90;
