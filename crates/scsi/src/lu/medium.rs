//! From commands to what is done with the medium: is there one, may it be written, do the blocks lie on it.

use crate::bytes::field;
use crate::command::{Blocks, BlocksOrRest, ByteCheck, Command, Transfer};
use crate::{AdditionalSense, Sense, SenseKey};

use super::{Begun, Continued, Extent, LogicalUnit, Operation, Reply};

const INVALID_CDB: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);
const INVALID_LIST: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST);
const LIST_LENGTH: Sense = Sense::illegal(AdditionalSense::PARAMETER_LIST_LENGTH_ERROR);
const BEYOND: Sense = Sense::illegal(AdditionalSense::LBA_OUT_OF_RANGE);

/// Length of the header of an UNMAP parameter list, and of a descriptor.
const UNMAP_HEADER: usize = 8;
const UNMAP_DESCRIPTOR: usize = 16;

impl LogicalUnit {
    /// NOT READY without a medium.
    pub(super) fn ready(&self) -> Result<(), Sense> {
        if self.loaded {
            Ok(())
        } else {
            let what = AdditionalSense::MEDIUM_NOT_PRESENT;
            Err(Sense::new(SenseKey::NOT_READY, what))
        }
    }

    pub(super) const fn write_protected(&self) -> bool {
        self.config.read_only || self.modes.write_protect
    }

    /// SBC-3, "Write protection": hardware (read only) and software (SWP) alike.
    fn writable(&self) -> Result<(), Sense> {
        self.ready()?;
        if self.write_protected() {
            let what = AdditionalSense::WRITE_PROTECTED;
            return Err(Sense::new(SenseKey::DATA_PROTECT, what));
        }
        Ok(())
    }

    /// WCE = 0 makes every write durable before it is acknowledged, FUA this one.
    const fn durable(&self, force: bool) -> bool {
        force || !self.modes.write_cache
    }

    /// The blocks, if they lie on the medium and one command may move so many.
    fn extent(&self, blocks: Blocks) -> Result<Extent, Sense> {
        if !blocks.fit(self.config.geometry.blocks) {
            return Err(BEYOND);
        }
        let most = self.config.limits.transfer_bytes / self.config.geometry.block_length.bytes();
        if blocks.count > most {
            return Err(INVALID_CDB);
        }
        Ok(blocks.into())
    }

    fn rest(&self, blocks: BlocksOrRest) -> Result<Extent, Sense> {
        let (first, count) = blocks.on(self.config.geometry.blocks).ok_or(BEYOND)?;
        Ok(Extent { first, count })
    }

    /// All of the medium.
    pub(super) const fn whole(&self) -> Extent {
        Extent {
            first: 0,
            count: self.config.geometry.blocks,
        }
    }

    /// What a command that only needs the medium does with it; `None` for other commands.
    pub(super) fn operation(&self, command: Command) -> Option<Result<Operation, Sense>> {
        let operation = match command {
            Command::Read(transfer) => self.ready().and_then(|()| self.read(transfer)),
            Command::Verify(blocks, check) => {
                self.ready().and_then(|()| self.verify(blocks, check))
            }
            Command::PreFetch { blocks, immediate } => self.ready().and_then(|()| {
                let extent = self.rest(blocks)?;
                Ok(Operation::Prefetch { extent, immediate })
            }),
            Command::SynchronizeCache { blocks, immediate } => self.ready().and_then(|()| {
                let extent = self.rest(blocks)?;
                Ok(Operation::Synchronize { extent, immediate })
            }),
            Command::GetLbaStatus { first, allocation } => self.ready().and_then(|()| {
                if first >= self.config.geometry.blocks {
                    return Err(BEYOND);
                }
                Ok(Operation::GetLbaStatus { first, allocation })
            }),
            command => return self.writing(command),
        };
        Some(operation)
    }

    fn read(&self, transfer: Transfer) -> Result<Operation, Sense> {
        Ok(Operation::Read {
            extent: self.extent(transfer.blocks)?,
            from_medium: transfer.force_unit_access,
        })
    }

    fn verify(&self, blocks: Blocks, check: ByteCheck) -> Result<Operation, Sense> {
        let extent = self.extent(blocks)?;
        // Without blocks there is nothing to compare with either.
        let check = if extent.count == 0 {
            ByteCheck::Readable
        } else {
            check
        };
        Ok(Operation::Verify { extent, check })
    }

    fn writing(&self, command: Command) -> Option<Result<Operation, Sense>> {
        let operation = match command {
            Command::Write(transfer) => self.writable().and_then(|()| {
                Ok(Operation::Write {
                    extent: self.extent(transfer.blocks)?,
                    durable: self.durable(transfer.force_unit_access),
                })
            }),
            Command::Orwrite(transfer) => self.writable().and_then(|()| {
                Ok(Operation::Orwrite {
                    extent: self.extent(transfer.blocks)?,
                    durable: self.durable(transfer.force_unit_access),
                })
            }),
            Command::WriteAndVerify(blocks, check) => self.writable().and_then(|()| {
                // BYTCHK 11b is reserved here (SBC-3, "WRITE AND VERIFY (10) command").
                if check == ByteCheck::OneBlock {
                    return Err(INVALID_CDB);
                }
                let extent = self.extent(blocks)?;
                Ok(Operation::WriteAndVerify { extent, check })
            }),
            Command::CompareAndWrite(transfer) => self.writable().and_then(|()| {
                if transfer.blocks.count > u32::from(self.config.limits.compare_and_write) {
                    return Err(INVALID_CDB);
                }
                Ok(Operation::CompareAndWrite {
                    extent: self.extent(transfer.blocks)?,
                    durable: self.durable(transfer.force_unit_access),
                })
            }),
            Command::WriteSame {
                blocks,
                unmap,
                zeros,
            } => self
                .writable()
                .and_then(|()| self.write_same(blocks, unmap, zeros)),
            _ => return None,
        };
        Some(operation)
    }

    fn write_same(
        &self,
        blocks: BlocksOrRest,
        unmap: bool,
        zeros: bool,
    ) -> Result<Operation, Sense> {
        if unmap && !self.config.thin {
            return Err(INVALID_CDB);
        }
        let extent = self.rest(blocks)?;
        if extent.count > u64::from(self.config.limits.write_same) {
            return Err(INVALID_CDB);
        }
        Ok(Operation::WriteSame {
            extent,
            unmap,
            zeros,
            durable: self.durable(false),
        })
    }

    /// UNMAP before its parameter list.
    pub(super) fn begin_unmap(&self, length: u32) -> Begun {
        if let Err(sense) = self.writable() {
            return Begun::Done(Reply::check(sense));
        }
        if !self.config.thin {
            let what = AdditionalSense::INVALID_COMMAND_OPERATION_CODE;
            return Begun::Done(Reply::check(Sense::illegal(what)));
        }
        match length {
            0 => Begun::Done(Reply::good()),
            length => Begun::Parameters { length },
        }
    }

    /// UNMAP with its parameter list (SBC-3, "UNMAP parameter list").
    pub(super) fn unmap(&self, list: &[u8]) -> Continued {
        match self.writable().and_then(|()| self.unmap_extents(list)) {
            Ok(extents) if extents.is_empty() => Continued::Done(Reply::good()),
            Ok(extents) => Continued::Medium(Operation::Unmap {
                extents,
                durable: self.durable(false),
            }),
            Err(sense) => Continued::Done(Reply::check(sense)),
        }
    }

    fn unmap_extents(&self, list: &[u8]) -> Result<Vec<Extent>, Sense> {
        let length = u16::from_be_bytes(field(list, 2).map_err(|_| LIST_LENGTH)?);
        let end = UNMAP_HEADER + usize::from(length);
        let descriptors = list.get(UNMAP_HEADER..end).ok_or(LIST_LENGTH)?;
        // A descriptor that is cut at the end is ignored, as the clause demands.
        let descriptors = descriptors.chunks_exact(UNMAP_DESCRIPTOR);
        if descriptors.len() > usize::from(self.config.limits.unmap_descriptors) {
            return Err(INVALID_LIST);
        }
        let mut extents = Vec::with_capacity(descriptors.len());
        let mut total = 0_u64;
        for descriptor in descriptors {
            let blocks = Blocks {
                first: u64::from_be_bytes(field(descriptor, 0).map_err(|_| LIST_LENGTH)?),
                count: u32::from_be_bytes(field(descriptor, 8).map_err(|_| LIST_LENGTH)?),
            };
            if blocks.count == 0 {
                continue;
            }
            if !blocks.fit(self.config.geometry.blocks) {
                return Err(BEYOND);
            }
            total += u64::from(blocks.count);
            extents.push(blocks.into());
        }
        if total > u64::from(self.config.limits.unmap) {
            return Err(INVALID_LIST);
        }
        Ok(extents)
    }
}
