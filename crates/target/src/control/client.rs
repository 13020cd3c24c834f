//! Asks a running server.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deadline::Deadline;

use crate::control::wire::{Reply, Request};

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server cannot be reached: nothing has been done.
    #[error("no server is reached through {}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The server has not answered: what was asked for may or may not have been done.
    #[error("the server has not answered; what was asked for may or may not have been done")]
    NoAnswer(#[source] io::Error),
}

/// Asks the server behind the socket `path`.
///
/// # Errors
/// [`ClientError`]. A server that says no is no error: that is [`Reply::Refused`].
pub fn ask(path: &Path, request: &Request, deadline: Deadline) -> Result<Reply, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        path: path.to_owned(),
        source,
    };
    let mut socket = UnixStream::connect(path).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request).map_err(|error| unreachable(error.into()))?;
    line.push(b'\n');
    let limit = deadline.remaining().max(Duration::from_millis(1));
    socket.set_write_timeout(Some(limit)).map_err(unreachable)?;
    socket.set_read_timeout(Some(limit)).map_err(unreachable)?;
    // The server does nothing before the line is whole.
    socket.write_all(&line).map_err(unreachable)?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(socket).take(MAX_ANSWER);
    reader
        .read_until(b'\n', &mut answer)
        .map_err(ClientError::NoAnswer)?;
    if answer.last() != Some(&b'\n') {
        return Err(ClientError::NoAnswer(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&answer).map_err(|error| ClientError::NoAnswer(error.into()))
}
