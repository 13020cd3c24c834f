//! One request on one stream: handshake, answer, record. The same for every transport on which the
//! peers challenge each other (multicast's connect-back, TCP, later vsock).

use std::io;
use std::time::Duration;

use deadline::Deadline;
use fence_wire::{DaemonHandshake, HandshakeError};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::fleet::tokio_instant;
use crate::identity::Requester;
use crate::limits::Place;
use crate::security::Security;
use crate::service::{Answer, Answered, Begun, Service, Ticket, Waiting};

/// The whole handshake, both directions. The C daemon allows as much for each step.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Until the peer has taken the answer.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Why a peer did not prove itself.
#[derive(Debug, thiserror::Error)]
enum Unproven {
    #[error("the challenge was not answered in time")]
    Late,
    #[error("the connection broke off during the challenge ({0})")]
    Broken(#[from] io::Error),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("the peer sent a challenge that this daemon has sent to somebody itself")]
    Borrowed,
    #[error("it had to make room for newer connections before it proved itself")]
    GaveWay,
    #[error("no random bytes for a challenge ({0})")]
    Random(#[from] getrandom::Error),
}

/// Serves a request that has been looked up on the stream its answer goes to.
pub(crate) async fn serve<S>(
    service: &Service,
    stream: &mut S,
    security: &Security,
    begun: Begun,
    requester: &Requester,
    place: &Place,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if matches!(begun, Begun::Finished) {
        tracing::debug!(%requester, "a duplicate of a finished request was dropped");
        return;
    }
    let proof = tokio::select! {
        proof = prove(service, stream, security) => proof,
        () = place.give_way.cancelled() => Err(Unproven::GaveWay),
    };
    let proof = proof.and_then(|()| place.prove().then_some(()).ok_or(Unproven::GaveWay));
    if let Err(reason) = proof {
        service.reject(requester, &reason);
        return;
    }
    match begun {
        Begun::New(ticket) => answer_new(stream, *ticket).await,
        Begun::Running(duplicate) => {
            tracing::debug!(%requester, "a duplicate shares the answer of its first");
            let waiting = duplicate.wait();
            if let (Some(answer), _) = watched(stream, Some(waiting), duplicate.answer()).await {
                send(stream, &answer).await;
            }
        }
        Begun::Finished => {}
    }
}

async fn answer_new<S>(stream: &mut S, mut ticket: Ticket)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let waiting = ticket.wait();
    let (answered, there): (Answered, bool) = watched(stream, waiting, ticket.answer()).await;
    // Who has closed only his own direction still gets it, but has not waited for it.
    let sent = send(stream, &answered.answer).await;
    ticket.conclude(answered, sent && there);
}

/// Challenge and counter-challenge.
async fn prove<S>(service: &Service, stream: &mut S, security: &Security) -> Result<(), Unproven>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let challenge = service.challenges().issue()?;
    let mut handshake = DaemonHandshake::new(security.auth, &security.key, *challenge.bytes());
    let exchange = async {
        let mut first = true;
        let mut buffer = [0; fence_wire::CHALLENGE_LEN];
        loop {
            while let Some(bytes) = handshake.transmit() {
                stream.write_all(&bytes).await?;
            }
            let wanted = handshake.need().min(buffer.len());
            if wanted == 0 {
                return Ok(());
            }
            stream.read_exact(&mut buffer[..wanted]).await?;
            if std::mem::take(&mut first) && service.challenges().contains(&buffer) {
                return Err(Unproven::Borrowed);
            }
            handshake.receive(&buffer[..wanted])?;
        }
    };
    let limit = tokio_instant(Deadline::after(HANDSHAKE_LIMIT));
    tokio::time::timeout_at(limit, exchange)
        .await
        .map_err(|_| Unproven::Late)?
}

/// Runs `work` to its end and watches the peer meanwhile: when it closes the connection it no
/// longer waits, so that what has not begun will not be (W6). Also tells whether it was still there
/// at the end.
async fn watched<S, T>(
    stream: &mut S,
    waiting: Option<Waiting>,
    work: impl Future<Output = T>,
) -> (T, bool)
where
    S: AsyncRead + Unpin + Send,
{
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => (result, true),
        () = peer_is_gone(stream) => {
            drop(waiting);
            (work.await, false)
        }
    }
}

/// Ends when the peer closes the connection. What it may still send means nothing.
async fn peer_is_gone<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut ignored = [0; 64];
    while !matches!(stream.read(&mut ignored).await, Ok(0) | Err(_)) {}
}

/// Sends the answer; false if the peer did not take it.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, answer: &Answer) -> bool {
    let bytes = answer.encode();
    let sending = async {
        stream.write_all(&bytes).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(SEND_LIMIT, sending)
        .await
        .is_ok_and(|result| result.is_ok())
}
