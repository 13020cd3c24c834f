//! Measures the ways in which operations leave a connection's thread, against each other on the same image:
//!
//! ```text
//! cargo run --release -p target --example io_path -- DIRECTORY [ROUNDS]
//! ```
//!
//! One thread keeps so many operations under way as a connection would. Each row is measured on both ways in turn, as
//! many rounds as asked for; printed are medians, with the quartiles of the ratio of the pairs.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use scsi::lu::{BlockLength, Extent, Operation};
use target::store::{Buffer, Done, Finished, IoPath, Lane, Options, Started, Store};

use std::os::fd::AsFd;

/// Size of the image in bytes: fits into the page cache of any machine that serves disks.
const SIZE: u64 = 1 << 30;
/// How long one measurement takes.
const TIME: Duration = Duration::from_millis(700);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    /// Of what the page cache does not hold.
    Cold,
    Write,
    /// FUA, or the write cache off.
    Durable,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    direct: bool,
    kind: Kind,
    /// Bytes of an operation.
    length: u64,
    depth: usize,
    random: bool,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for direct in [false, true] {
        for kind in [Kind::Read, Kind::Cold, Kind::Write, Kind::Durable] {
            if direct && kind == Kind::Cold {
                continue;
            }
            let shapes = [
                (4096, 1, true),
                (4096, 32, true),
                (64 << 10, 8, false),
                (1 << 20, 8, false),
            ];
            let shapes = shapes
                .iter()
                .filter(|shape| kind != Kind::Durable || shape.2);
            rows.extend(shapes.map(|(length, depth, random)| Row {
                direct,
                kind,
                length: *length,
                depth: *depth,
                random: *random,
            }));
        }
    }
    rows
}

/// What one measurement found.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Operations per second.
    rate: f64,
    /// Processor time of an operation, in microseconds.
    cost: f64,
}

/// Where the next operation goes.
struct Places {
    row: Row,
    state: u64,
}

impl Places {
    fn next(&mut self) -> Operation {
        let count = SIZE / self.row.length;
        self.state = if self.row.random {
            // A linear congruential generator; its upper bits are good enough for places.
            self.state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1)
        } else {
            self.state + (1 << 33)
        };
        let blocks = self.row.length / 512;
        let extent = Extent {
            first: (self.state >> 33) % count * blocks,
            count: blocks,
        };
        match self.row.kind {
            Kind::Read | Kind::Cold => Operation::Read {
                extent,
                from_medium: false,
            },
            kind => Operation::Write {
                extent,
                durable: kind == Kind::Durable,
            },
        }
    }
}

fn measure(store: &Arc<Store>, row: Row, path: IoPath, seed: u64) -> Result<Found, Box<dyn Error>> {
    let length = usize::try_from(row.length)?;
    let mut lane = Lane::with(path)?;
    let mut spare: Vec<Buffer> = (0..row.depth).map(|_| Buffer::zeroed(length)).collect();
    let mut places = Places { row, state: seed };
    let (begun, spent) = (Instant::now(), processor_time());
    let mut ended = 0_u32;
    let mut count = |done: Done<u64>| {
        assert_eq!(done.finished, Finished::Done);
        ended += 1;
        done.data
    };
    while begun.elapsed() < TIME {
        while let Some(done) = lane.finished() {
            spare.push(count(done));
        }
        // Once for each that is not under way, as a connection does with the commands that have come.
        for data in std::mem::take(&mut spare) {
            if let Started::AtOnce(done) = lane.start(0, store, places.next(), data) {
                spare.push(count(done));
            }
        }
        lane.submit();
        if spare.is_empty() {
            let mut fds = [PollFd::from_borrowed_fd(lane.as_fd(), PollFlags::IN)];
            poll(&mut fds, None)?;
        }
    }
    while lane.under_way() > 0 {
        if let Some(done) = lane.finished() {
            spare.push(count(done));
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let spent = processor_time().saturating_sub(spent).as_secs_f64();
    Ok(Found {
        rate: f64::from(ended) / took,
        cost: spent * 1e6 / f64::from(ended),
    })
}

/// Processor time of the whole process. What kernel threads do is not in it.
fn processor_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is what getrusage writes; zeros are valid too, should it fail.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let duration = |time: libc::timeval| {
        let micros = time.tv_sec * 1_000_000 + time.tv_usec;
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a handful of values"
    )]
    let at = ((values.len() - 1) as f64 * part).round() as usize;
    values[at]
}

fn open(directory: &Path, direct: bool) -> Result<Arc<Store>, Box<dyn Error>> {
    let options = Options {
        direct,
        block_length: BlockLength::B512,
        size: Some(SIZE),
        ..Options::default()
    };
    Ok(Arc::new(Store::open(
        &directory.join("io-path.img"),
        &options,
    )?))
}

fn fill(directory: &Path) -> Result<(), Box<dyn Error>> {
    let store = open(directory, false)?;
    let data = Buffer::copied(&vec![0x5A; 1 << 20]);
    for at in 0..SIZE >> 20 {
        store.write(at << 11, &data, false)?;
    }
    Ok(store.flush()?)
}

/// For what is to be cold: takes the image out of the page cache. Else it is read into it.
fn forget(directory: &Path, row: Row) -> Result<(), Box<dyn Error>> {
    let mut image = File::open(directory.join("io-path.img"))?;
    if row.kind == Kind::Cold {
        image.sync_all()?;
        rustix::fs::fadvise(&image, 0, None, rustix::fs::Advice::DontNeed)?;
    } else if !row.direct {
        std::io::copy(&mut image, &mut std::io::sink())?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("give a directory with room for 1 GiB")?;
    let directory = Path::new(&directory);
    let rounds: u64 = arguments.next().map_or(Ok(5), |rounds| rounds.parse())?;
    fill(directory)?;
    println!(
        "| medium | operation | on threads: IOPS | µs CPU each | as served: IOPS | µs CPU each | CPU ratio (quartiles) |"
    );
    println!("|---|---|---|---|---|---|---|");
    for row in rows() {
        let store = open(directory, row.direct)?;
        let mut pairs = Vec::new();
        for round in 0..rounds {
            forget(directory, row)?;
            let threads = measure(&store, row, IoPath::Threads, round)?;
            forget(directory, row)?;
            pairs.push((threads, measure(&store, row, IoPath::Fastest, round)?));
        }
        let ratios = || {
            pairs
                .iter()
                .map(|(threads, fastest)| threads.cost / fastest.cost)
        };
        println!(
            "| {} | {:?} {} KiB {}, depth {} | {:.0} | {:.1} | {:.0} | {:.1} | {:.1} ({:.1}–{:.1}) |",
            if row.direct { "O_DIRECT" } else { "page cache" },
            row.kind,
            row.length >> 10,
            if row.random { "random" } else { "sequential" },
            row.depth,
            median(pairs.iter().map(|(threads, _)| threads.rate)),
            median(pairs.iter().map(|(threads, _)| threads.cost)),
            median(pairs.iter().map(|(_, fastest)| fastest.rate)),
            median(pairs.iter().map(|(_, fastest)| fastest.cost)),
            median(ratios()),
            quantile(ratios(), 0.25),
            quantile(ratios(), 0.75),
        );
    }
    std::fs::remove_file(directory.join("io-path.img"))?;
    Ok(())
}
