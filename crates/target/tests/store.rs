//! The medium as a logical unit sees it: what is written is read, by whatever operation, past the page cache and
//! through it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use scsi::capacity::Provisioning;
use scsi::command::ByteCheck;
use scsi::lu::{BlockLength, Extent, MediumFailure, Operation};
use target::store::{Buffer, Health, OpenError, Options, Store};

const BLOCKS: u64 = 256;

fn options(direct: bool, block_length: BlockLength) -> Options {
    Options {
        direct,
        block_length,
        size: Some(BLOCKS * u64::from(block_length.bytes())),
        ..Options::default()
    }
}

/// A new image. `None`, said aloud, where the file system knows no direct I/O.
fn image(directory: &Path, options: &Options) -> Option<Store> {
    match Store::open(&directory.join("image"), options) {
        Err(OpenError::Open { source, .. }) if options.direct => {
            eprintln!("skipped past the page cache: {source}");
            None
        }
        opened => Some(opened.unwrap()),
    }
}

const fn extent(first: u64, count: u64) -> Extent {
    Extent { first, count }
}

/// An operation and its data-out.
#[derive(Debug, Clone)]
struct Step {
    operation: Operation,
    data: Vec<u8>,
}

/// What a step must come to, on plain bytes.
fn expected(model: &mut [u8], block: usize, step: &Step) -> Result<Vec<u8>, MediumFailure> {
    let bytes = |extent: &Extent| {
        let start = usize::try_from(extent.first).unwrap() * block;
        start..start + usize::try_from(extent.count).unwrap() * block
    };
    let same = |found: &[u8], wanted: &[u8]| {
        let differs = found.iter().zip(wanted).position(|(a, b)| a != b);
        differs.map_or(Ok(()), |at| {
            Err(MediumFailure::Miscompare { at: at as u64 })
        })
    };
    match &step.operation {
        Operation::Read { extent, .. } => return Ok(model[bytes(extent)].to_vec()),
        Operation::Write { extent, .. } | Operation::WriteAndVerify { extent, .. } => {
            model[bytes(extent)].copy_from_slice(&step.data);
        }
        Operation::Verify { extent, check } => match check {
            ByteCheck::Readable => {}
            ByteCheck::Data => same(&model[bytes(extent)], &step.data)?,
            ByteCheck::OneBlock => {
                for found in model[bytes(extent)].chunks(block) {
                    same(found, &step.data)?;
                }
            }
        },
        Operation::Orwrite { extent, .. } => {
            for (byte, more) in model[bytes(extent)].iter_mut().zip(&step.data) {
                *byte |= more;
            }
        }
        Operation::WriteSame { extent, zeros, .. } => {
            for place in model[bytes(extent)].chunks_mut(block) {
                if *zeros {
                    place.fill(0);
                } else {
                    place.copy_from_slice(&step.data);
                }
            }
        }
        Operation::CompareAndWrite { extent, .. } => {
            let (wanted, new) = step.data.split_at(step.data.len() / 2);
            same(&model[bytes(extent)], wanted)?;
            model[bytes(extent)].copy_from_slice(new);
        }
        Operation::Unmap { extents, .. } => {
            for extent in extents {
                model[bytes(extent)].fill(0);
            }
        }
        _ => {}
    }
    Ok(Vec::new())
}

fn extents(most: u64) -> impl Strategy<Value = Extent> {
    (0..BLOCKS).prop_flat_map(move |first| {
        (0..=most.min(BLOCKS - first)).prop_map(move |count| extent(first, count))
    })
}

/// Few values, so that comparisons succeed now and then.
fn pattern(length: usize) -> impl Strategy<Value = Vec<u8>> {
    (0_u8..3, proptest::option::of(0..length.max(1))).prop_map(move |(byte, odd)| {
        let mut data = vec![byte; length];
        if let Some(place) = odd.and_then(|at| data.get_mut(at)) {
            *place ^= 0x40;
        }
        data
    })
}

fn steps(block: usize) -> impl Strategy<Value = Step> {
    (extents(20), any::<[bool; 3]>(), 0..10_u8).prop_flat_map(move |(extent, flags, kind)| {
        let [durable, unmap, zeros] = flags;
        let whole = usize::try_from(extent.count).unwrap() * block;
        let (operation, length) = match kind {
            0 => (
                Operation::Read {
                    extent,
                    from_medium: durable,
                },
                0,
            ),
            1 => (Operation::Write { extent, durable }, whole),
            2 => (
                Operation::WriteAndVerify {
                    extent,
                    check: ByteCheck::Data,
                },
                whole,
            ),
            3 => (
                Operation::Verify {
                    extent,
                    check: ByteCheck::Data,
                },
                whole,
            ),
            4 => (
                Operation::Verify {
                    extent,
                    check: ByteCheck::OneBlock,
                },
                block,
            ),
            5 => (Operation::Orwrite { extent, durable }, whole),
            6 => {
                let length = if zeros { 0 } else { block };
                (
                    Operation::WriteSame {
                        extent,
                        unmap,
                        zeros,
                        durable,
                    },
                    length,
                )
            }
            7 => (Operation::CompareAndWrite { extent, durable }, 2 * whole),
            8 => (
                Operation::Unmap {
                    extents: vec![extent, extent],
                    durable,
                },
                0,
            ),
            _ => (
                Operation::Synchronize {
                    extent,
                    immediate: false,
                },
                0,
            ),
        };
        pattern(length).prop_map(move |data| Step {
            operation: operation.clone(),
            data,
        })
    })
}

fn behaves_as_plain_bytes(options: &Options, steps: &[Step]) {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = image(directory.path(), options) else {
        return;
    };
    let block = usize::try_from(options.block_length.bytes()).unwrap();
    let mut model = vec![0; usize::try_from(BLOCKS).unwrap() * block];
    for step in steps {
        let expected = expected(&mut model, block, step);
        let mut data = Buffer::copied(&step.data);
        let found = store.carry_out(&step.operation, &mut data);
        match &expected {
            Ok(_) => assert_eq!(found, Ok(()), "{:?}", step.operation),
            Err(failure) => assert_eq!(found, Err(*failure), "{:?}", step.operation),
        }
        if let (Operation::Read { .. }, Ok(read)) = (&step.operation, &expected) {
            assert!(data[..] == read[..], "{:?}", step.operation);
        }
    }
    let mut whole = vec![0xEE; model.len()];
    store.read(0, &mut whole).unwrap();
    assert!(whole == model);
    for run in store.allocation(0, 1000).unwrap() {
        if run.state == Provisioning::DEALLOCATED {
            let start = usize::try_from(run.first).unwrap() * block;
            let end = start + usize::try_from(run.blocks).unwrap() * block;
            assert!(model[start..end].iter().all(|byte| *byte == 0));
        }
    }
    drop(store);
    // And it is there for the next who opens it, and for other programs.
    assert!(std::fs::read(directory.path().join("image")).unwrap() == model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn through_the_page_cache_it_behaves_as_plain_bytes(steps in proptest::collection::vec(steps(512), 1..40)) {
        behaves_as_plain_bytes(&options(false, BlockLength::B512), &steps);
    }

    #[test]
    fn past_the_page_cache_it_behaves_as_plain_bytes(steps in proptest::collection::vec(steps(512), 1..24)) {
        behaves_as_plain_bytes(&options(true, BlockLength::B512), &steps);
    }

    #[test]
    fn long_blocks_behave_as_plain_bytes(steps in proptest::collection::vec(steps(4096), 1..24), direct: bool) {
        behaves_as_plain_bytes(&options(direct, BlockLength::B4096), &steps);
    }

    #[test]
    fn without_thin_provisioning_it_behaves_as_plain_bytes(steps in proptest::collection::vec(steps(512), 1..24)) {
        let thick = Options { thin: false, ..options(false, BlockLength::B512) };
        behaves_as_plain_bytes(&thick, &steps);
    }
}

/// Memory that is not aligned, as a caller's may be.
#[test]
fn any_memory_serves_past_the_page_cache() {
    let directory = tempfile::tempdir().unwrap();
    let Some(store) = image(directory.path(), &options(true, BlockLength::B512)) else {
        return;
    };
    let data: Vec<u8> = (0..=250_u8).cycle().take(513 * 8 + 1).collect();
    let unaligned = &data[1..=512 * 8];
    store.write(3, unaligned, false).unwrap();
    store.write(40, unaligned, true).unwrap();
    for first in [3, 40] {
        let mut found = vec![0; data.len()];
        store.read(first, &mut found[1..=512 * 8]).unwrap();
        assert!(found[1..=512 * 8] == *unaligned);
    }
}

#[test]
fn what_lies_beyond_the_medium_is_refused_without_touching_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = image(directory.path(), &options(false, BlockLength::B512)).unwrap();
    let internal = Err(MediumFailure::Internal);
    let mut block = vec![0; 512];
    for first in [BLOCKS, u64::MAX, u64::MAX / 512] {
        assert_eq!(store.read(first, &mut block), internal);
        assert_eq!(store.write(first, &block, false), internal);
        let unmap = Operation::Unmap {
            extents: vec![extent(first, 1)],
            durable: false,
        };
        assert_eq!(store.carry_out(&unmap, &mut Buffer::default()), internal);
    }
    assert_eq!(store.read(0, &mut block[..511]), internal);
    assert_eq!(store.write(BLOCKS - 1, &[0; 1024], false), internal);
    let short = Operation::Write {
        extent: extent(0, 2),
        durable: false,
    };
    assert_eq!(store.carry_out(&short, &mut Buffer::zeroed(512)), internal);
    let length = std::fs::metadata(directory.path().join("image"))
        .unwrap()
        .len();
    assert_eq!(length, BLOCKS * 512);
}

#[test]
fn a_thin_file_has_no_space_at_first_and_gives_it_back() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = Options {
        size: Some(64 << 20),
        ..Options::default()
    };
    let store = image(directory.path(), &wanted).unwrap();
    let path = directory.path().join("image");
    let space = || std::fs::metadata(&path).unwrap().blocks() * 512;
    assert_eq!(store.blocks(), 131_072);
    assert!(space() < 1 << 20);
    store.write(2048, &vec![1; 8 << 20], true).unwrap();
    assert!(space() >= 8 << 20);
    let runs = store.allocation(0, 10).unwrap();
    let states: Vec<_> = runs
        .iter()
        .map(|run| (run.first, run.blocks, run.state))
        .collect();
    assert_eq!(
        states,
        [
            (0, 2048, Provisioning::DEALLOCATED),
            (2048, 16384, Provisioning::MAPPED),
            (18432, 112_640, Provisioning::DEALLOCATED),
        ]
    );
    // As GET LBA STATUS data: three runs do not fit into 40 bytes, two do.
    let mut data = Buffer::default();
    let status = Operation::GetLbaStatus {
        first: 100,
        allocation: 40,
    };
    store.carry_out(&status, &mut data).unwrap();
    assert_eq!(data.len(), 8 + 2 * 16);
    assert_eq!(data[8..16], 100_u64.to_be_bytes());
    assert_eq!((data[20], data[36]), (1, 0));
    let unmap = Operation::Unmap {
        extents: vec![extent(2048, 16384)],
        durable: true,
    };
    store.carry_out(&unmap, &mut data).unwrap();
    assert!(space() < 1 << 20);
}

#[test]
fn a_thick_file_has_its_space_from_the_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let thick = Options {
        thin: false,
        size: Some(4 << 20),
        ..Options::default()
    };
    drop(image(directory.path(), &thick).unwrap());
    let metadata = std::fs::metadata(directory.path().join("image")).unwrap();
    assert!(metadata.blocks() * 512 >= 4 << 20);
    assert_eq!(metadata.mode() & 0o777, 0o600);
}

#[test]
fn only_disks_are_opened() {
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path| Store::open(path, &Options::default());
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [
        directory.path(),
        &fifo,
        Path::new("/dev/full"),
        Path::new("/dev/null"),
    ] {
        assert!(
            matches!(open(path), Err(OpenError::NotADisk { .. })),
            "{path:?}"
        );
    }
    let missing = directory.path().join("missing");
    assert!(matches!(open(&missing), Err(OpenError::Missing { .. })));
    let empty = directory.path().join("empty");
    File::create(&empty).unwrap().set_len(511).unwrap();
    assert!(matches!(
        open(&empty),
        Err(OpenError::Empty { bytes: 511, .. })
    ));
}

#[test]
fn an_existing_file_is_never_resized() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, vec![5; 1536]).unwrap();
    let other = Options {
        size: Some(4096),
        ..Options::default()
    };
    let refused = Store::open(&path, &other);
    assert!(matches!(
        refused,
        Err(OpenError::Size {
            found: 1536,
            wanted: 4096,
            ..
        })
    ));
    assert_eq!(std::fs::read(&path).unwrap(), vec![5; 1536]);
    // What is left of a block is not served.
    let long = Options {
        block_length: BlockLength::B4096,
        ..Options::default()
    };
    assert!(matches!(
        Store::open(&path, &long),
        Err(OpenError::Empty { .. })
    ));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1600)
        .unwrap();
    assert_eq!(Store::open(&path, &Options::default()).unwrap().blocks(), 3);
}

#[test]
fn a_file_is_served_for_writing_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let first = image(directory.path(), &options(false, BlockLength::B512)).unwrap();
    let reading = Options {
        read_only: true,
        ..Options::default()
    };
    for wanted in [Options::default(), reading] {
        let second = Store::open(&path, &wanted);
        assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
    }
    drop(first);
    let readers = [
        Store::open(&path, &reading).unwrap(),
        Store::open(&path, &reading).unwrap(),
    ];
    let writer = Store::open(&path, &Options::default());
    assert!(matches!(writer, Err(OpenError::InUse { .. })));
    drop(readers);
    Store::open(&path, &Options::default()).unwrap();
}

#[test]
fn what_is_served_for_reading_is_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    std::fs::write(&path, vec![9; 4096]).unwrap();
    let reading = Options {
        read_only: true,
        ..Options::default()
    };
    let store = Store::open(&path, &reading).unwrap();
    let at = extent(0, 1);
    let changes = [
        (
            Operation::Write {
                extent: at,
                durable: false,
            },
            512,
        ),
        (
            Operation::WriteAndVerify {
                extent: at,
                check: ByteCheck::Data,
            },
            512,
        ),
        (
            Operation::Orwrite {
                extent: at,
                durable: false,
            },
            512,
        ),
        (
            Operation::WriteSame {
                extent: at,
                unmap: true,
                zeros: true,
                durable: false,
            },
            0,
        ),
        (
            Operation::CompareAndWrite {
                extent: at,
                durable: false,
            },
            1024,
        ),
        (
            Operation::Unmap {
                extents: vec![at],
                durable: false,
            },
            0,
        ),
    ];
    for (operation, length) in changes {
        let refused = store.carry_out(&operation, &mut Buffer::zeroed(length));
        assert_eq!(refused, Err(MediumFailure::ReadOnly), "{operation:?}");
    }
    assert_eq!(store.flush(), Ok(()));
    assert_eq!(store.health(), Health::Sound);
    assert_eq!(std::fs::read(&path).unwrap(), vec![9; 4096]);
}

/// Counters that only COMPARE AND WRITE advances, while their neighbours are written.
#[test]
fn compare_and_write_is_one_step_for_all() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 200;
    let directory = tempfile::tempdir().unwrap();
    let store = image(directory.path(), &options(false, BlockLength::B512)).unwrap();
    let noise = [0xFF; 512];
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    increment(&store);
                    store.write(1, &noise, false).unwrap();
                }
            });
        }
    });
    let mut block = [0; 512];
    store.read(0, &mut block).unwrap();
    assert_eq!(block[..8], (THREADS * ROUNDS).to_le_bytes());
}

fn increment(store: &Store) {
    let step = Operation::CompareAndWrite {
        extent: extent(0, 1),
        durable: false,
    };
    loop {
        let mut data = Buffer::zeroed(1024);
        store.read(0, &mut data[..512]).unwrap();
        let count: [u8; 8] = data[..8].try_into().unwrap();
        let next = u64::from_le_bytes(count) + 1;
        data[512..520].copy_from_slice(&next.to_le_bytes());
        match store.carry_out(&step, &mut data) {
            Ok(()) => return,
            Err(MediumFailure::Miscompare { at }) => assert!(at < 8),
            Err(failure) => panic!("{failure}"),
        }
    }
}
