//! From what a guest can read of itself to who it is on its platform. Pure.
//!
//! | platform | the guest's identity | where it stands |
//! |---|---|---|
//! | KVM, RHEV, oVirt, Nutanix | the UUID of its definition | DMI: product_uuid |
//! | Xen | the UUID of its domain | /sys/hypervisor/uuid, else DMI |
//! | VMware | `config.uuid`, its bytes in the order of the serial number | DMI: product_serial |
//! | Hyper-V | the GUID of its host's `Msvm_ComputerSystem`, which DMI does not have | data exchange, pool 3 |
//!
//! The kernel prints the first three fields of product_uuid with their bytes turned around when the firmware claims SMBIOS 2.6
//! or newer, as that standard wants it. VMware stores them unturned whatever it claims: with virtual hardware 13 and newer
//! product_uuid is not what vCenter shows. The serial number has the bytes as they are.

use cluster::PlatformKind;
use hypervisor::hyperv::kvp::Pool;
use serde::Serialize;
use uuid::Uuid;

/// The longest text that is taken from a file of the firmware.
const MAX_TEXT: usize = 256;
/// The asset tag of every guest of Azure.
const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
/// UUIDs that firmware has instead of none.
const NO_UUIDS: [u128; 3] = [0, u128::MAX, 0x0300_0200_0400_0500_0006_0007_0008_0009];

/// What came of reading a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Text {
    /// It is not there.
    #[default]
    Absent,
    /// It is there and may not be read, or not now.
    Closed(String),
    /// What it says, without blanks around it.
    Says(String),
}

impl Text {
    /// What a file says, made harmless. Empty is absent.
    pub(super) fn of(text: &str) -> Self {
        let text: String = text
            .trim()
            .chars()
            .take(MAX_TEXT)
            .map(crate::plain::harmless)
            .collect();
        if text.is_empty() {
            Self::Absent
        } else {
            Self::Says(text)
        }
    }

    fn get(&self) -> &str {
        match self {
            Self::Says(text) => text,
            Self::Absent | Self::Closed(_) => "",
        }
    }
}

/// What a guest can read of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) sys_vendor: Text,
    pub(super) product_name: Text,
    pub(super) product_uuid: Text,
    pub(super) product_serial: Text,
    pub(super) chassis_asset_tag: Text,
    pub(super) hypervisor_type: Text,
    pub(super) hypervisor_uuid: Text,
    /// The bytes of Hyper-V's pool 3.
    pub(super) pool: Option<Vec<u8>>,
    /// The guest's address on vsock.
    pub(super) cid: Option<u32>,
}

/// A UUID that the platform may know the guest by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Candidate {
    pub(super) uuid: Uuid,
    /// Where it stands.
    pub(super) from: &'static str,
    /// Whether it is what the platform calls the guest; otherwise the platform has to be asked.
    pub(super) is_sure: bool,
}

/// What an agent is to be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Plug {
    pub(super) agent: &'static str,
    pub(super) plug: String,
    pub(super) is_sure: bool,
}

/// Who a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(super) struct Identity {
    /// The platform, as a definition calls it; none: not recognized, or no guest.
    pub(super) platform: Option<String>,
    /// What the firmware calls the machine.
    pub(super) product: Option<String>,
    /// The likeliest first.
    pub(super) candidates: Vec<Candidate>,
    /// Its name on the platform, where the platform tells it.
    pub(super) name: Option<String>,
    /// The host it runs on, where the platform tells it.
    pub(super) host: Option<String>,
    /// Its address on vsock.
    pub(super) cid: Option<u32>,
    pub(super) plugs: Vec<Plug>,
    /// What is missing or in doubt, and what can be done.
    pub(super) notes: Vec<String>,
}

/// Who the guest is that has these facts.
pub(super) fn identify(facts: &Facts) -> Identity {
    let kind = platform(facts);
    let product: Vec<&str> = [&facts.sys_vendor, &facts.product_name]
        .map(Text::get)
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect();
    let mut identity = Identity {
        platform: kind.map(|kind| kind.to_string()),
        product: Some(product.join(" ")).filter(|product| !product.is_empty()),
        cid: facts.cid,
        ..Identity::default()
    };
    match kind {
        Some(PlatformKind::HyperV) => by_pool(facts, &mut identity),
        Some(PlatformKind::Vmware) => by_serial(facts, &mut identity),
        Some(PlatformKind::Xen) if !facts.hypervisor_uuid.get().is_empty() => {
            by_uuid(
                &facts.hypervisor_uuid,
                "/sys/hypervisor/uuid",
                &mut identity,
            );
        }
        Some(PlatformKind::Azure | PlatformKind::Aws) => identity.notes.push(
            "the provider's agents take the machine's name in the provider's account, which the guest does not know"
                .to_owned(),
        ),
        Some(_) => by_uuid(&facts.product_uuid, "DMI product_uuid", &mut identity),
        None => identity.notes.push(match &facts.sys_vendor {
            Text::Absent => "there is no DMI here: which platform this is cannot be told".to_owned(),
            Text::Closed(why) => format!("DMI cannot be read: {why}"),
            Text::Says(_) => {
                "no virtualization platform is known by that name: bare metal, or one that is new".to_owned()
            }
        }),
    }
    if let Some(kind) = kind {
        plugs(kind, &mut identity);
    }
    identity
}

fn platform(facts: &Facts) -> Option<PlatformKind> {
    let (vendor, product) = (facts.sys_vendor.get(), facts.product_name.get());
    let has = |word: &str| {
        let word = word.to_ascii_lowercase();
        let lower = |text: &str| text.to_ascii_lowercase();
        lower(vendor).contains(&word) || lower(product).contains(&word)
    };
    if facts.chassis_asset_tag.get() == AZURE {
        return Some(PlatformKind::Azure);
    }
    if vendor == "Microsoft Corporation" && product == "Virtual Machine" {
        return Some(PlatformKind::HyperV);
    }
    [
        ("vmware", PlatformKind::Vmware),
        ("amazon ec2", PlatformKind::Aws),
        ("nutanix", PlatformKind::Nutanix),
        ("kubevirt", PlatformKind::Kubevirt),
        ("openshift virtualization", PlatformKind::Kubevirt),
        ("rhev", PlatformKind::Rhev),
        ("ovirt", PlatformKind::Rhev),
    ]
    .into_iter()
    .find_map(|(word, kind)| has(word).then_some(kind))
    .or_else(|| (vendor == "Red Hat" && product == "RHEL").then_some(PlatformKind::Rhev))
    .or_else(|| {
        let xen = vendor == "Xen" || facts.hypervisor_type.get() == "xen";
        xen.then_some(PlatformKind::Xen)
    })
    .or_else(|| {
        let kvm = ["qemu", "kvm", "bochs", "standard pc"];
        kvm.iter()
            .any(|word| has(word))
            .then_some(PlatformKind::Kvm)
    })
}

/// A UUID in its usual form, if it is one that names somebody.
fn parsed(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    (!NO_UUIDS.contains(&uuid.as_u128())).then_some(uuid)
}

fn by_uuid(text: &Text, from: &'static str, identity: &mut Identity) {
    match (text, parsed(text.get())) {
        (_, Some(uuid)) => identity.candidates.push(Candidate {
            uuid,
            from,
            is_sure: true,
        }),
        (Text::Closed(why), None) => {
            identity.notes.push(format!("{from} cannot be read: {why}"));
        }
        (_, None) => identity.notes.push(format!("{from} holds no UUID")),
    }
}

/// `VMware-56 4d 7f c1 12 34 56 78-9a bc de f0 12 34 56 78`: the sixteen bytes in their order.
fn vmware_serial(text: &str) -> Option<Uuid> {
    let digits = text.strip_prefix("VMware-")?;
    let mut bytes = [0; 16];
    let mut words = digits.split([' ', '-']).filter(|word| !word.is_empty());
    for byte in &mut bytes {
        let word = words.next().filter(|word| word.len() == 2)?;
        *byte = u8::from_str_radix(word, 16).ok()?;
    }
    let uuid = Uuid::from_bytes(bytes);
    (words.next().is_none() && !NO_UUIDS.contains(&uuid.as_u128())).then_some(uuid)
}

fn by_serial(facts: &Facts, identity: &mut Identity) {
    if let Some(uuid) = vmware_serial(facts.product_serial.get()) {
        identity.candidates.push(Candidate {
            uuid,
            from: "DMI product_serial",
            is_sure: true,
        });
        return;
    }
    if let Text::Closed(why) = &facts.product_serial {
        identity
            .notes
            .push(format!("DMI product_serial cannot be read: {why}"));
    }
    let Some(uuid) = parsed(facts.product_uuid.get()) else {
        by_uuid(&facts.product_uuid, "DMI product_uuid", identity);
        return;
    };
    // As it is, and with the first three fields turned around.
    for (uuid, from) in [
        (uuid, "DMI product_uuid"),
        (
            Uuid::from_bytes(uuid.to_bytes_le()),
            "DMI product_uuid, bytes of the first three fields turned around",
        ),
    ] {
        identity.candidates.push(Candidate {
            uuid,
            from,
            is_sure: false,
        });
    }
    identity.notes.push(
        "the serial number does not say which of the two is what vCenter shows; ask vCenter with `picket discover DEFINITION`"
            .to_owned(),
    );
}

fn by_pool(facts: &Facts, identity: &mut Identity) {
    let told = facts
        .pool
        .as_deref()
        .map(|bytes| Pool::decode(bytes).told());
    let Some(told) = told else {
        identity.notes.push(
            "the host's data exchange is not there: start hv_kvp_daemon (package hyperv-daemons), and switch on Data Exchange \
             in the guest's integration services; the UUID in DMI is not the one that Hyper-V calls the guest by"
                .to_owned(),
        );
        return;
    };
    let harmless = |text: String| -> String { text.chars().map(crate::plain::harmless).collect() };
    match told.guest {
        Some(uuid) => identity.candidates.push(Candidate {
            uuid,
            from: "Hyper-V data exchange, VirtualMachineId",
            is_sure: true,
        }),
        None => identity
            .notes
            .push("the host's data exchange holds no VirtualMachineId".to_owned()),
    }
    identity.name = told.name.map(harmless);
    identity.host = told.host.map(harmless);
}

fn plugs(kind: PlatformKind, identity: &mut Identity) {
    let agents: &[&'static str] = match kind {
        PlatformKind::Kvm | PlatformKind::Xen => &["fence_xvm", "fence_virt"],
        PlatformKind::Rhev => &["fence_rhevm"],
        PlatformKind::Vmware => &["fence_vmware", "fence_vmware_soap"],
        PlatformKind::HyperV => &["fence_hyperv"],
        _ => &[],
    };
    let Some(first) = identity.candidates.first() else {
        return;
    };
    for agent in agents {
        identity.plugs.push(Plug {
            agent,
            plug: first.uuid.to_string(),
            is_sure: first.is_sure,
        });
    }
    if kind == PlatformKind::Vmware {
        identity.notes.push(
            "fence_vmware_rest takes the guest's name, which the guest does not know".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(vendor: &str, product: &str, uuid: &str) -> Facts {
        Facts {
            sys_vendor: Text::of(vendor),
            product_name: Text::of(product),
            product_uuid: Text::of(uuid),
            ..Facts::default()
        }
    }

    const UUID: &str = "6695eb01-f6a4-4304-89aa-97f2502e193f";

    fn kind(vendor: &str, product: &str) -> Option<String> {
        identify(&facts(vendor, product, UUID)).platform
    }

    #[test]
    fn platforms_by_what_their_firmware_says() {
        for (vendor, product, expected) in [
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "kvm"),
            ("Red Hat", "KVM", "kvm"),
            ("Bochs", "Bochs", "kvm"),
            ("Red Hat", "RHEV Hypervisor", "rhev"),
            ("oVirt", "oVirt Node", "rhev"),
            ("oVirt", "RHEL", "rhev"),
            ("Red Hat", "RHEL", "rhev"),
            ("VMware, Inc.", "VMware Virtual Platform", "vmware"),
            ("VMware, Inc.", "VMware7,1", "vmware"),
            ("Microsoft Corporation", "Virtual Machine", "hyper-v"),
            ("Xen", "HVM domU", "xen"),
            ("Amazon EC2", "m5.large", "aws"),
            ("Nutanix", "AHV", "nutanix"),
            ("KubeVirt", "None", "kubevirt"),
        ] {
            assert_eq!(
                kind(vendor, product).as_deref(),
                Some(expected),
                "{vendor} {product}"
            );
        }
        assert_eq!(kind("Dell Inc.", "PowerEdge R740"), None);
        assert_eq!(kind("Microsoft Corporation", "Surface Pro"), None);
        let mut azure = facts("Microsoft Corporation", "Virtual Machine", UUID);
        azure.chassis_asset_tag = Text::of(AZURE);
        assert_eq!(identify(&azure).platform.as_deref(), Some("azure"));
        let mut paravirtual = Facts {
            hypervisor_type: Text::of("xen\n"),
            hypervisor_uuid: Text::of(UUID),
            ..Facts::default()
        };
        let found = identify(&paravirtual);
        assert_eq!(found.platform.as_deref(), Some("xen"));
        assert_eq!(found.plugs[0].plug, UUID);
        paravirtual.hypervisor_uuid = Text::Absent;
        assert_eq!(identify(&paravirtual).candidates, []);
    }

    #[test]
    fn libvirt_and_rhev_know_the_guest_by_dmi() {
        for (vendor, agent) in [("QEMU", "fence_xvm"), ("oVirt", "fence_rhevm")] {
            let found = identify(&facts(vendor, "x", &UUID.to_uppercase()));
            assert_eq!(found.plugs[0].agent, agent);
            assert_eq!(found.plugs[0].plug, UUID);
            assert!(found.plugs[0].is_sure);
        }
        let mut closed = facts("QEMU", "x", "");
        closed.product_uuid = Text::Closed("permission denied".to_owned());
        let found = identify(&closed);
        assert!(found.plugs.is_empty());
        assert!(found.notes[0].contains("permission denied"));
        for nobody in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "03000200-0400-0500-0006-000700080009",
            "Not Settable",
        ] {
            assert_eq!(identify(&facts("QEMU", "x", nobody)).candidates, []);
        }
    }

    /// vCenter shows 564d7fc1-…; the kernel of a guest with virtual hardware 13 c17f4d56-….
    #[test]
    fn vmware_by_the_bytes_of_the_serial_number() {
        let mut guest = facts(
            "VMware, Inc.",
            "VMware7,1",
            "c17f4d56-3412-7856-9abc-def012345678",
        );
        let unsure = identify(&guest);
        let candidates: Vec<String> = unsure
            .candidates
            .iter()
            .map(|candidate| candidate.uuid.to_string())
            .collect();
        assert_eq!(
            candidates,
            [
                "c17f4d56-3412-7856-9abc-def012345678",
                "564d7fc1-1234-5678-9abc-def012345678"
            ]
        );
        assert!(unsure.plugs.iter().all(|plug| !plug.is_sure));
        guest.product_serial = Text::of("VMware-56 4d 7f c1 12 34 56 78-9a bc de f0 12 34 56 78");
        let sure = identify(&guest);
        assert_eq!(sure.candidates.len(), 1);
        assert_eq!(sure.plugs[0].plug, "564d7fc1-1234-5678-9abc-def012345678");
        assert!(sure.plugs[0].is_sure);
    }

    fn record(key: &str, value: &str) -> Vec<u8> {
        let mut record = vec![0; 512 + 2048];
        record[..key.len()].copy_from_slice(key.as_bytes());
        record[512..512 + value.len()].copy_from_slice(value.as_bytes());
        record
    }

    #[test]
    fn hyper_v_by_what_the_host_told_and_never_by_dmi() {
        let mut guest = facts("Microsoft Corporation", "Virtual Machine", UUID);
        let untold = identify(&guest);
        assert_eq!(untold.candidates, []);
        assert!(untold.notes[0].contains("hv_kvp_daemon"));
        let told = "11111111-2222-4333-8444-555555555555";
        guest.pool = Some(
            [
                record("VirtualMachineId", told),
                record("VirtualMachineName", "ledger-n1"),
                record("PhysicalHostNameFullyQualified", "hv1.corp.example"),
            ]
            .concat(),
        );
        let found = identify(&guest);
        assert_eq!(found.plugs[0].plug, told);
        assert_eq!(found.name.as_deref(), Some("ledger-n1"));
        assert_eq!(found.host.as_deref(), Some("hv1.corp.example"));
    }

    fn text() -> impl Strategy<Value = Text> {
        prop_oneof![
            any::<String>().prop_map(|text| Text::of(&text)),
            "VMware-([0-9a-f]{2}[ -]){14,17}".prop_map(|text| Text::of(&text)),
            Just(Text::of("VMware, Inc.")),
            Just(Text::of("Microsoft Corporation")),
            Just(Text::of("Virtual Machine")),
            Just(Text::of(UUID)),
            Just(Text::Closed("no".to_owned())),
        ]
    }

    proptest! {
        /// Whatever firmware and host say: nothing panics, nothing moves the cursor, and no plug stands for nobody.
        #[test]
        fn anything_is_read(
            texts in prop::array::uniform7(text()),
            pool in prop::option::of(prop::collection::vec(any::<u8>(), 0..6000)),
        ) {
            let [sys_vendor, product_name, product_uuid, product_serial, chassis_asset_tag, hypervisor_type, hypervisor_uuid] = texts;
            let found = identify(&Facts {
                sys_vendor, product_name, product_uuid, product_serial, chassis_asset_tag, hypervisor_type, hypervisor_uuid,
                pool, cid: None,
            });
            prop_assert!(found.candidates.iter().all(|candidate| !candidate.uuid.is_nil()));
            let shown = format!("{:?}{:?}{:?}", found.product, found.name, found.host);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
