//! Serial line, virtio-serial port and VMChannel: short frames without signature or handshake. Who
//! asks is known to the daemon from the channel the frame came through.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use fence_agent::{Exit, Failure, Session};
use fence_wire::Answer;
use fence_wire::serial::{SerialReplyReader, SerialRequest};
use rustix::event::PollFlags;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serial2::{CharSize, FlowControl, SerialPort, Settings, StopBits};

use super::config::{Config, Line, Params, Parity, Peer};
use super::random;
use super::stream::{connect, no_answer};

/// How often a line that another run holds is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Asks over a serial line or a virtio-serial port.
pub(crate) fn ask_line(
    config: &Config,
    line: &Line,
    session: &mut Session,
) -> Result<Answer, Failure> {
    let device = open(line, session)?;
    ask(config, &device, &line.device, session)
}

/// Asks over VMChannel.
pub(crate) fn ask_channel(
    config: &Config,
    address: std::net::SocketAddr,
    session: &mut Session,
) -> Result<Answer, Failure> {
    let stream = connect(Peer::Tcp(address), session)
        .map_err(|failure| failure.with_exit(Exit::NO_ANSWER))?;
    ask(config, &stream, &format!("channel {address}"), session)
}

/// Opens the device for this run alone; waits, within the deadline, while another run has it.
fn open(line: &Line, session: &Session) -> Result<OwnedFd, Failure> {
    let name = &line.device;
    loop {
        match claim(line) {
            Ok(device) => return Ok(device),
            Err(error) if is_busy(&error) => {}
            Err(error) => {
                return Err(Failure::unreachable(format!(
                    "cannot use `{name}`: {error}; name the guest's serial port that the host's \
                     fence_virtd serves with `serial_device` (-D)"
                )));
            }
        }
        session.pause(RETRY).map_err(|stop| {
            Failure::stopped(
                stop,
                format!("waiting for `{name}`, which another process uses"),
            )
        })?;
    }
}

fn is_busy(error: &io::Error) -> bool {
    let busy = [Errno::BUSY, Errno::AGAIN, Errno::ACCESS].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| busy[..2].contains(&code))
}

fn claim(line: &Line) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = rustix::fs::open(&line.device, flags, Mode::empty())?;
    rustix::fs::fcntl_lock(&device, FlockOperation::NonBlockingLockExclusive)?;
    if rustix::termios::isatty(&device) {
        return configure(device, line.params);
    }
    // A virtio-serial port has no line settings; a plain file would swallow the request.
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&device)?.st_mode);
    if kind == rustix::fs::FileType::CharacterDevice {
        Ok(device)
    } else {
        Err(Errno::NOTTY.into())
    }
}

fn configure(device: OwnedFd, params: Params) -> io::Result<OwnedFd> {
    let mut port = SerialPort::from(device);
    let mut settings = port.get_configuration()?;
    apply(&mut settings, params)?;
    port.set_configuration(&settings)?;
    port.discard_buffers()?;
    Ok(port.into())
}

fn apply(settings: &mut Settings, params: Params) -> io::Result<()> {
    settings.set_raw();
    settings.set_baud_rate(params.speed)?;
    settings.set_char_size(match params.data_bits {
        5 => CharSize::Bits5,
        6 => CharSize::Bits6,
        7 => CharSize::Bits7,
        _ => CharSize::Bits8,
    });
    settings.set_parity(match params.parity {
        Parity::None => serial2::Parity::None,
        Parity::Even => serial2::Parity::Even,
        Parity::Odd => serial2::Parity::Odd,
    });
    settings.set_stop_bits(if params.stop_bits == 2 {
        StopBits::Two
    } else {
        StopBits::One
    });
    settings.set_flow_control(FlowControl::RtsCts);
    Ok(())
}

/// Writes the request and reads the answer.
fn ask(
    config: &Config,
    channel: &impl AsFd,
    name: &str,
    session: &Session,
) -> Result<Answer, Failure> {
    let request = SerialRequest {
        operation: config.operation,
        plug: config.plug.clone(),
        seqno: u32::from_ne_bytes(random()?),
    };
    let question = config.question();
    drain(channel);
    write_all(channel, &request.encode(), name, session)?;
    let mut reader = SerialReplyReader::new();
    let mut buffer = [0; 2048];
    loop {
        let ready = session.wait_for(channel, PollFlags::IN, session.deadline());
        if let Err(stop) = ready {
            let doing = format!(
                "waiting for an answer to {question} on {name}: whether it was done is not known"
            );
            return Err(Failure::stopped(stop, doing).with_exit(no_answer(stop, config.operation)));
        }
        let lost = |error: String| {
            Failure::cannot_know(format!("operation failed: {question} on {name}: {error}"))
                .with_exit(Exit::NO_ANSWER)
        };
        match rustix::io::read(channel, &mut buffer) {
            Ok(0) => return Err(lost(reader.closed().to_string())),
            Ok(count) => match reader.receive(&buffer[..count]) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) => return Err(lost(error.to_string())),
            },
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(lost(error.to_string())),
        }
    }
}

/// Throws away what lies in the channel: a late answer to an earlier run's request must not be taken
/// for the answer to ours, for answers carry no sequence number. Bounded, because a peer that never
/// stops talking must not keep us here; an error shows again when the request is written.
fn drain(channel: &impl AsFd) {
    let mut buffer = [0; 2048];
    for _ in 0..64 {
        if !matches!(rustix::io::read(channel, &mut buffer), Ok(1..)) {
            return;
        }
    }
}

fn write_all(
    channel: &impl AsFd,
    mut bytes: &[u8],
    name: &str,
    session: &Session,
) -> Result<(), Failure> {
    while !bytes.is_empty() {
        session
            .wait_for(channel, PollFlags::OUT, session.deadline())
            .map_err(|stop| Failure::stopped(stop, format!("writing to {name}")))?;
        match rustix::io::write(channel, bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                return Err(Failure::unreachable(format!(
                    "cannot write to {name}: {error}"
                )));
            }
        }
    }
    Ok(())
}
