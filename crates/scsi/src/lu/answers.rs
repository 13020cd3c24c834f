//! What a logical unit answers about itself.

use crate::bytes::length_u32;
use crate::capacity::Capacity;
use crate::command::{PageControl, Supported, Wanted};
use crate::inquiry::{Peripheral, Standard, VERSION_SPC_4, VersionDescriptor};
use crate::mode::{BlockDescriptor, Parameters};
use crate::opcode::Opcode;
use crate::pr::{Capabilities, InAction, RelativePort, TypeMask};
use crate::vpd::{
    self, Association, BlockLimits, CodeSet, Designator, DesignatorType, LogicalBlockProvisioning,
    RotationRate,
};
use crate::{AdditionalSense, Sense, SenseKey};

use super::{Config, LogicalUnit, NexusId, Reply};

const INVALID_CDB: Sense = Sense::illegal(AdditionalSense::INVALID_FIELD_IN_CDB);

/// The one target port group, of all ports.
const PORT_GROUP: u16 = 1;
/// A file system's usual block: less is not unmapped, only zeroed.
const HOLE: u32 = 4096;

impl LogicalUnit {
    pub(super) fn capacity(&self) -> Capacity {
        let geometry = self.config.geometry;
        Capacity {
            last: geometry.blocks.saturating_sub(1),
            block_length: geometry.block_length.bytes(),
            physical_exponent: geometry.physical_exponent,
            thin: self.config.thin,
            unmapped_read_zeros: self.config.thin,
        }
    }

    /// The short block descriptor (SBC-3): FFFFFFFFh blocks stand for more than fit.
    pub(super) fn block_descriptor(&self) -> BlockDescriptor {
        let geometry = self.config.geometry;
        BlockDescriptor {
            blocks: u32::try_from(geometry.blocks).unwrap_or(u32::MAX),
            block_length: geometry.block_length.bytes(),
        }
    }

    pub(super) fn inquiry(&self, id: NexusId, page: Option<u8>) -> Result<Vec<u8>, Sense> {
        let Some(page) = page else {
            return Ok(standard(&self.config).encode());
        };
        let body = match page {
            vpd::SUPPORTED_PAGES => PAGES.to_vec(),
            vpd::SERIAL_NUMBER => self.config.identity.serial.as_str().into(),
            vpd::DEVICE_IDENTIFICATION => {
                let port = self.nexuses.get(id).map(|slot| slot.nexus.port);
                vpd::encode_designators(&designators(&self.config, port))
            }
            vpd::BLOCK_LIMITS => limits(&self.config).encode(),
            vpd::CHARACTERISTICS => rotation(&self.config).encode(),
            vpd::PROVISIONING => provisioning(&self.config).encode(),
            _ => return Err(INVALID_CDB),
        };
        Ok(vpd::encode(page, &body))
    }

    pub(super) fn mode_sense(
        &self,
        long: bool,
        no_descriptors: bool,
        control: PageControl,
        page: (u8, u8),
    ) -> Result<Vec<u8>, Sense> {
        let parameters = Parameters {
            write_protected: self.write_protected(),
            dpo_fua: true,
            descriptor: (!no_descriptors).then(|| self.block_descriptor()),
            pages: self.modes.sense(self.initial_modes(), control, page)?,
        };
        Ok(parameters.encode(long))
    }

    /// REQUEST SENSE (SPC-4): a unit attention that waits is told as data, and is told then.
    pub(super) fn request_sense(&mut self, id: NexusId, descriptor: bool) -> Vec<u8> {
        let slot = self.nexuses.get_mut(id);
        let attention = slot.and_then(|slot| slot.attentions.take());
        let sense = match attention {
            Some(what) => Sense::attention(what),
            None if !self.loaded => {
                Sense::new(SenseKey::NOT_READY, AdditionalSense::MEDIUM_NOT_PRESENT)
            }
            None => Sense::new(SenseKey::NO_SENSE, AdditionalSense::NONE),
        };
        sense.encode(descriptor)
    }

    pub(super) fn reserve_in(&self, action: InAction) -> Vec<u8> {
        // The state knows all but the capabilities.
        self.reservations.data(action).unwrap_or_else(|| {
            Capabilities {
                compatible_reservation_handling: true,
                specify_initiator_ports: true,
                all_target_ports: true,
                persist_through_power_loss: true,
                persist_active: self.reservations.aptpl(),
                types: Some(TypeMask::ALL),
            }
            .encode()
            .to_vec()
        })
    }

    pub(super) fn operation_codes(&self, wanted: Wanted, timeouts: bool) -> Result<Vec<u8>, Sense> {
        wanted.data(timeouts, |entry: &Supported| {
            self.config.thin || entry.opcode != Opcode::UNMAP
        })
    }

    /// REPORT TARGET PORT GROUPS (SPC-4): every port reaches the medium as well as any other.
    pub(super) fn port_groups(&self, extended: bool) -> Vec<u8> {
        let [group_high, group_low] = PORT_GROUP.to_be_bytes();
        let ports = &self.config.ports;
        let count = u8::try_from(ports.len()).unwrap_or(u8::MAX);
        // Active/optimized, and only that state is supported; no status to tell.
        let mut body = vec![0x00, 0x01, group_high, group_low, 0, 0, 0, count];
        for port in ports.iter().take(usize::from(count)) {
            let [high, low] = port.0.to_be_bytes();
            body.extend([0, 0, high, low]);
        }
        let header = if extended {
            // FORMAT TYPE 001b; no transition takes any time.
            vec![0x10, 0, 0, 0]
        } else {
            Vec::new()
        };
        let length = length_u32(header.len() + body.len());
        [&length[..], &header, &body].concat()
    }
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4): ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET.
pub(super) fn task_management_functions(extended: bool) -> Vec<u8> {
    const FUNCTIONS: u8 = 0x80 | 0x40 | 0x10 | 0x08;
    let mut bytes = vec![FUNCTIONS, 0, 0, 0];
    if extended {
        bytes[3] = 0x0C;
        bytes.resize(16, 0);
    }
    bytes
}

const PAGES: [u8; 6] = [
    vpd::SUPPORTED_PAGES,
    vpd::SERIAL_NUMBER,
    vpd::DEVICE_IDENTIFICATION,
    vpd::BLOCK_LIMITS,
    vpd::CHARACTERISTICS,
    vpd::PROVISIONING,
];

fn standard(config: &Config) -> Standard {
    let identity = &config.identity;
    Standard {
        peripheral: Peripheral::DISK,
        removable: config.removable,
        version: VERSION_SPC_4,
        // Implicit asymmetric access: one group, which is told by REPORT TARGET PORT GROUPS.
        target_port_groups: 0x01,
        protection: false,
        queuing: true,
        vendor: identity.vendor.clone(),
        product: identity.product.clone(),
        revision: identity.revision.clone(),
        versions: vec![
            VersionDescriptor::SAM_5,
            VersionDescriptor::SPC_4,
            VersionDescriptor::SBC_3,
            VersionDescriptor::ISCSI,
        ],
    }
}

/// The logical unit by what is the same through every port; then the port, its group and the device (SPC-4, "Device
/// Identification VPD page").
fn designators(config: &Config, port: Option<RelativePort>) -> Vec<Designator> {
    let identity = &config.identity;
    let vendor = [
        &identity.vendor.padded()[..],
        identity.serial.as_str().as_bytes(),
    ]
    .concat();
    let unit = Designator::of_unit;
    let mut all = vec![
        unit(
            CodeSet::BINARY,
            DesignatorType::NAA,
            identity.naa.bytes().to_vec(),
        ),
        unit(CodeSet::ASCII, DesignatorType::T10_VENDOR, vendor),
    ];
    if let Some(port) = port {
        let name = format!("{},t,{:#06x}", identity.target_name, port.0);
        all.extend([
            Designator::of_port(DesignatorType::RELATIVE_PORT, port.0),
            Designator::of_port(DesignatorType::PORT_GROUP, PORT_GROUP),
            Designator::name(Association::TargetPort, &name),
        ]);
    }
    let device = Designator::name(Association::TargetDevice, &identity.target_name);
    all.push(device);
    all
}

fn limits(config: &Config) -> BlockLimits {
    let (limits, geometry) = (config.limits, config.geometry);
    let block = geometry.block_length.bytes();
    let thin = |value: u32| if config.thin { value } else { 0 };
    BlockLimits {
        write_same_non_zero: false,
        compare_and_write: limits.compare_and_write,
        granularity: 1_u16
            .checked_shl(u32::from(geometry.physical_exponent))
            .unwrap_or_default(),
        transfer: limits.transfer_bytes / block,
        optimal: 0,
        unmap: thin(limits.unmap),
        unmap_descriptors: thin(u32::from(limits.unmap_descriptors)),
        unmap_granularity: thin(HOLE / block),
        unmap_alignment: config.thin.then_some(0),
        write_same: u64::from(limits.write_same),
    }
}

const fn rotation(config: &Config) -> RotationRate {
    if config.rotational {
        RotationRate::NOT_TOLD
    } else {
        RotationRate::SOLID_STATE
    }
}

const fn provisioning(config: &Config) -> LogicalBlockProvisioning {
    LogicalBlockProvisioning {
        unmap: config.thin,
        write_same_16: config.thin,
        write_same_10: config.thin,
        read_zeros: config.thin,
        anchor: false,
        kind: if config.thin {
            LogicalBlockProvisioning::THIN
        } else {
            0
        },
    }
}

/// GOOD with data, or CHECK CONDITION.
pub(super) fn told(data: Result<Vec<u8>, Sense>, allocation: u32) -> Reply {
    match data {
        Ok(data) => Reply::with_data(data, allocation),
        Err(sense) => Reply::check(sense),
    }
}
