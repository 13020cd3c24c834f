//! Where the guests run: the virtualization platform and its hosts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{
    Address, AgentName, Endpoint, NodeName, OptionName, OptionValue, Os, PlainPath, SshDestination,
    Uri, Version,
};

/// The virtualization platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Platform {
    /// Which platform.
    pub kind: PlatformKind,
    /// The operating system of the hosts: distribution and version, as in `debian 12`.
    pub os: Option<Os>,
    /// The version of the product: of ESX(i), RHEV or oVirt, the year of Windows Server.
    pub version: Option<Version>,
    /// What manages the hosts, if anything does.
    pub manager: Option<Manager>,
    /// How `picket placement` logs in to what manages the hosts. Default: as the first fencing device
    /// does that asks it.
    pub access: Option<Access>,
    /// Whether the hosts form a cluster of their own, with fencing.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub host_cluster: bool,
    /// Whether guests may be live-migrated while they are members of the cluster.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub live_migration: bool,
    /// How far the platform keeps the members on different hosts.
    #[serde(default)]
    #[schemars(extend("default" = "none"))]
    pub anti_affinity: AntiAffinity,
    /// Whether the platform's own high availability starts a guest again that it finds switched off.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub restarts_guests: bool,
}

/// A virtualization platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PlatformKind {
    /// KVM under libvirt.
    Kvm,
    /// Xen.
    Xen,
    /// Red Hat Enterprise Virtualization, and oVirt, from which it is made.
    #[serde(alias = "ovirt")]
    #[schemars(extend("enum" = ["rhev", "ovirt"]))]
    Rhev,
    /// VMware ESX and vSphere.
    Vmware,
    /// Microsoft Hyper-V.
    HyperV,
    /// KubeVirt and OpenShift Virtualization.
    Kubevirt,
    /// Nutanix AHV.
    Nutanix,
    /// Proxmox VE.
    Proxmox,
    /// Microsoft Azure.
    Azure,
    /// Amazon Web Services.
    Aws,
}

impl PlatformKind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Kvm,
        Self::Xen,
        Self::Rhev,
        Self::Vmware,
        Self::HyperV,
        Self::Kubevirt,
        Self::Nutanix,
        Self::Proxmox,
        Self::Azure,
        Self::Aws,
    ];

    /// The platform as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Xen => "xen",
            Self::Rhev => "rhev",
            Self::Vmware => "vmware",
            Self::HyperV => "hyper-v",
            Self::Kubevirt => "kubevirt",
            Self::Nutanix => "nutanix",
            Self::Proxmox => "proxmox",
            Self::Azure => "azure",
            Self::Aws => "aws",
        }
    }

    /// Whether its hosts run libvirt, so that `fence_virtd` can work on them.
    #[must_use]
    pub const fn has_libvirt(self) -> bool {
        matches!(self, Self::Kvm | Self::Xen)
    }
}

impl std::fmt::Display for PlatformKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What manages the hosts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manager {
    /// Which product.
    pub kind: ManagerKind,
    /// Its version.
    pub version: Option<Version>,
    /// Where its interface is reached.
    pub address: Option<Endpoint>,
    /// On the nodes: the certificate authority that its certificate is checked against.
    pub ca_file: Option<PlainPath>,
}

/// How `picket placement` logs in to what manages the hosts: by the options of the platform's fencing
/// agent, on the machine where it runs. What is not given here is taken from the first fencing device
/// that asks it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Access {
    /// The agent whose options these are. Default: that of the fencing device.
    pub agent: Option<AgentName>,
    /// Options. Must hold no secret: see `secrets`.
    #[serde(default)]
    pub options: BTreeMap<OptionName, OptionValue>,
    /// Secret options, and for each the file that holds it, on the machine where `picket placement`
    /// runs.
    #[serde(default)]
    pub secrets: BTreeMap<OptionName, PlainPath>,
}

/// A product that manages hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ManagerKind {
    /// VMware vCenter Server (vSphere).
    Vcenter,
    /// VMware VirtualCenter, as it was called before vSphere.
    VirtualCenter,
    /// Red Hat Enterprise Virtualization Manager, and the oVirt engine.
    #[serde(alias = "ovirt-engine")]
    #[schemars(extend("enum" = ["rhev-m", "ovirt-engine"]))]
    RhevM,
    /// A Windows failover cluster.
    FailoverCluster,
    /// System Center Virtual Machine Manager.
    Scvmm,
    /// Nutanix Prism Central.
    PrismCentral,
    /// Xen Orchestra.
    XenOrchestra,
}

impl ManagerKind {
    /// The product as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vcenter => "vcenter",
            Self::VirtualCenter => "virtual-center",
            Self::RhevM => "rhev-m",
            Self::FailoverCluster => "failover-cluster",
            Self::Scvmm => "scvmm",
            Self::PrismCentral => "prism-central",
            Self::XenOrchestra => "xen-orchestra",
        }
    }
}

impl std::fmt::Display for ManagerKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far the platform keeps the members on different hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AntiAffinity {
    /// Not at all.
    #[default]
    None,
    /// Where it can: two members may meet on one host when hosts are short.
    Soft,
    /// Always: a member rather stays off.
    Hard,
}

/// What holds for every guest, unless its `[[node]]` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Guests {
    /// The operating system: distribution and version, as in `rhel 6.1`.
    pub os: Option<Os>,
    /// The watchdog that the guests have.
    pub watchdog: Option<Watchdog>,
    /// Whether members are snapshotted or suspended while they run.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub snapshots: bool,
}

/// A watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Watchdog {
    /// QEMU's emulation of the Intel 6300ESB.
    I6300esb,
    /// QEMU's emulation of the iBASE 700.
    Ib700,
    /// The watchdog of IBM Z guests.
    Diag288,
    /// The ACPI watchdog action table, as on many servers.
    Wdat,
    /// Xen's own.
    Xen,
    /// The kernel's `softdog`: it stops with the kernel that it watches.
    Softdog,
    /// There is none.
    None,
}

impl Watchdog {
    /// The watchdog as it is written in a definition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::I6300esb => "i6300esb",
            Self::Ib700 => "ib700",
            Self::Diag288 => "diag288",
            Self::Wdat => "wdat",
            Self::Xen => "xen",
            Self::Softdog => "softdog",
            Self::None => "none",
        }
    }
}

/// A machine that runs guests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Host {
    /// Its host name.
    pub name: NodeName,
    /// Its address.
    #[serde(default, deserialize_with = "optional_ip")]
    #[schemars(with = "Option<Address>")]
    pub address: Option<IpAddr>,
    /// Where ssh reaches it. Default: `root@ADDRESS`, or `root@NAME`.
    pub ssh: Option<SshDestination>,
    /// Its operating system, if not that of `[platform]`.
    pub os: Option<Os>,
    /// Its platform, if not that of `[platform]`.
    pub kind: Option<PlatformKind>,
    /// Its libvirt connection URI. Default: `qemu:///system`, or `xen:///` for Xen.
    pub uri: Option<Uri>,
    /// The libvirt connection URI by which `picket placement` reaches it from elsewhere. Default: `uri`
    /// through ssh.
    pub remote_uri: Option<Uri>,
}

impl Host {
    /// `uri` as it is reached from another machine: [`Host::remote_uri`], else `uri` itself if it names a
    /// server or a way to it, else through ssh. Never asks at a terminal.
    #[must_use]
    pub fn uri_from_elsewhere(&self, uri: &str) -> String {
        if let Some(remote) = &self.remote_uri {
            return remote.as_str().to_owned();
        }
        let Some((driver, rest)) = uri.split_once("://") else {
            return uri.to_owned();
        };
        if driver.contains('+') || !rest.starts_with('/') || driver == "test" {
            return uri.to_owned();
        }
        let destination = self.destination();
        let (user, host) = match destination.rsplit_once('@') {
            Some((user, host)) => (format!("{user}@"), host),
            None => (String::new(), destination.as_str()),
        };
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        let mark = if rest.contains('?') { '&' } else { '?' };
        format!("{driver}+ssh://{user}{host}{rest}{mark}no_tty=1")
    }

    /// Where ssh reaches it.
    #[must_use]
    pub fn destination(&self) -> String {
        match (&self.ssh, self.address) {
            (Some(ssh), _) => ssh.to_string(),
            (None, Some(address)) => format!("root@{address}"),
            (None, None) => format!("root@{}", self.name),
        }
    }
}

fn optional_ip<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    Ok(Some(Address::deserialize(deserializer)?.ip()))
}
