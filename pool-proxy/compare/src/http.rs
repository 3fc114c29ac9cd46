//! As much of HTTP/1.1 as a client of a proxy on loopback needs: one connection, one request at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A kept connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    head: String,
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// What was said before the body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
}

impl Connection {
    pub(crate) fn open(address: &str, path: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self {
            head: format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
                 Accept: application/json, text/event-stream\r\n"
            ),
            stream: BufReader::with_capacity(1 << 16, stream),
            request: Vec::new(),
            body: Vec::new(),
        })
    }

    /// From now on all requests belong to this session.
    pub(crate) fn join(&mut self, session: &str, version: &str) {
        let headers = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {version}\r\n");
        self.head.push_str(&headers);
    }

    /// Posts a message and reads the whole response; its body is in `body` then.
    pub(crate) fn post(&mut self, message: &[u8]) -> io::Result<Head> {
        self.request.clear();
        write!(
            self.request,
            "{}Content-Length: {}\r\n\r\n",
            self.head,
            message.len()
        )?;
        self.request.extend_from_slice(message);
        self.stream.get_mut().write_all(&self.request)?;
        self.read_response()
    }

    fn read_response(&mut self) -> io::Result<Head> {
        let status_line = self.line()?;
        let status = status_line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let mut head = Head {
            status: status.ok_or_else(|| malformed(&status_line))?,
            session: None,
        };
        let mut length = 0;
        let mut is_chunked = false;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().map_err(|_| malformed(&line))?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                head.session = Some(value.to_owned());
            }
        }
        self.body.clear();
        if is_chunked {
            self.read_chunks()?;
        } else {
            self.read_bytes(length)?;
        }
        Ok(head)
    }

    fn read_chunks(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = u64::from_str_radix(&line, 16).map_err(|_| malformed(&line))?;
            self.read_bytes(size)?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    fn read_bytes(&mut self, count: u64) -> io::Result<()> {
        let read = (&mut self.stream).take(count).read_to_end(&mut self.body)?;
        if u64::try_from(read).is_ok_and(|read| read == count) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

fn malformed(line: &str) -> io::Error {
    io::Error::other(format!("malformed response: {line}"))
}

/// A proxy that takes longer for a reply counts as broken.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::Connection;

    #[test]
    fn chunks_and_lengths_are_read_to_their_ends_and_the_connection_is_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            assert_ne!(stream.read(&mut request).unwrap(), 0);
            let chunked = "HTTP/1.1 200 OK\r\nMcp-Session-Id: s\r\nTransfer-Encoding: chunked\r\n\r\n\
                           3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
            stream.write_all(chunked.as_bytes()).unwrap();
            assert_ne!(stream.read(&mut request).unwrap(), 0);
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno")
                .unwrap();
        });
        let mut connection = Connection::open(&address, "/mcp").unwrap();
        let head = connection.post(b"{}").unwrap();
        assert_eq!((head.status, head.session.as_deref()), (200, Some("s")));
        assert_eq!(connection.body, b"abc0123456789");
        assert_eq!(connection.post(b"{}").unwrap().status, 404);
        assert_eq!(connection.body, b"no");
        proxy.join().unwrap();
    }
}
