//! How many looks per second one connection bears: `observe_rate [URI] [THREADS] [SECONDS]`.
//!
//! Looks at the first guest of the list, from as many threads as wanted, and prints rate and latency.

use std::thread;
use std::time::{Duration, Instant};

use hypervisor::libvirt::Libvirt;
use hypervisor::{Deadline, Error, GuestRef, Hypervisor};

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments
        .next()
        .unwrap_or_else(|| "test:///default".to_owned());
    let mut number = |default| {
        arguments
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (threads, seconds) = (number(16_u64), number(2_u64));
    let limit = Duration::from_secs(10);
    let libvirt = Libvirt::new(&uri);
    let listed = libvirt.list(Deadline::after(limit))?;
    let Some(first) = listed.first() else {
        println!("{uri} has no guests");
        return Ok(());
    };
    let guest = GuestRef::Name(first.guest.name.clone());
    let end = Instant::now() + Duration::from_secs(seconds);
    let look = || {
        let mut took = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            libvirt.observe(&guest, Deadline::after(limit))?;
            took.push(begun.elapsed());
        }
        Ok::<_, Error>(took)
    };
    let mut took = Vec::new();
    thread::scope(|scope| {
        let lookers: Vec<_> = (0..threads).map(|_| scope.spawn(look)).collect();
        for looker in lookers {
            took.extend(looker.join().unwrap_or_else(|_| Ok(Vec::new()))?);
        }
        Ok::<_, Error>(())
    })?;
    took.sort_unstable();
    let at = |part: usize| {
        took.get(took.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    let rate = took.len() as u64 / seconds.max(1);
    println!(
        "{threads} threads: {rate}/s, median {:?}, p99 {:?}",
        at(50),
        at(99)
    );
    let begun = Instant::now();
    let guests = libvirt.list(Deadline::after(limit))?.len();
    println!("list of {guests} guests: {:?}", begun.elapsed());
    Ok(())
}
