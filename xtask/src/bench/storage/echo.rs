//! The limit: the same bytes over a plain TCP connection, without anything being done for them.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::load::Load;

/// Bytes of an iSCSI header.
const HEADER: usize = 48;

/// Round trips per second, as many in flight as the load has.
pub(super) fn limit(load: &Load, window: Duration) -> Result<f64> {
    let bytes = usize::try_from(load.bytes)?;
    let (request, answer) = if load.writes {
        (HEADER + bytes, HEADER)
    } else {
        (HEADER, HEADER + bytes)
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    let server = thread::spawn(move || serve(peer, request, answer));
    let rate = ask(stream, (request, answer), load.depth, window)?;
    // The client has hung up, which ends it.
    let served = server.join().map_err(|_| anyhow!("the echo panicked"))?;
    served?;
    Ok(rate)
}

/// Answers each request; those that are there together are answered together.
fn serve(stream: TcpStream, request: usize, answer: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::with_capacity(256 << 10, stream);
    let (mut asked, mut answers) = (vec![0; request], Vec::new());
    loop {
        if from.read_exact(&mut asked).is_err() {
            return Ok(());
        }
        answers.resize(answers.len() + answer, 0);
        if from.buffer().len() < request {
            if to.write_all(&answers).is_err() {
                return Ok(());
            }
            answers.clear();
        }
    }
}

fn ask(
    stream: TcpStream,
    (request, answer): (usize, usize),
    depth: usize,
    window: Duration,
) -> Result<f64> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::with_capacity(256 << 10, stream);
    let (requests, mut answered) = (vec![0; request * depth], vec![0; answer]);
    let (mut free, mut done) = (depth, 0_u32);
    let began = Instant::now();
    loop {
        to.write_all(&requests[..request * free])?;
        free = 0;
        loop {
            from.read_exact(&mut answered)?;
            (free, done) = (free + 1, done + 1);
            if free == depth || from.buffer().len() < answer {
                break;
            }
        }
        let took = began.elapsed();
        if took >= window {
            return Ok(f64::from(done) / took.as_secs_f64());
        }
    }
}
