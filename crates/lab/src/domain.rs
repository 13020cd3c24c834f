//! A guest's libvirt definition.

use std::path::Path;

use quick_xml::escape::escape;
use sha2::{Digest, Sha256};

use crate::accel::Accel;
use crate::disk;
use crate::image::Image;
use crate::net::tap;
use crate::spec::{LabName, Node};
use crate::storage::{self, Server};

/// What the definitions of a lab's guests have in common.
pub(crate) struct Guests<'a> {
    pub(crate) lab: &'a LabName,
    pub(crate) image: &'a Image,
    pub(crate) accel: Accel,
    pub(crate) memory_mib: u32,
    pub(crate) storage: Option<&'a Server>,
    /// The host's counter rate, for [`Accel::Tcg`].
    pub(crate) tsc_khz: Option<u32>,
    /// The lab's state directory: consoles, channels, the configuration disk.
    pub(crate) directory: &'a Path,
}

/// The name of the configuration disk in the state directory.
pub(crate) const CONFIG_DISK: &str = "config.tar";

/// The console file of `node` in the state directory.
pub(crate) fn console(directory: &Path, node: &str) -> std::path::PathBuf {
    directory.join(format!("{node}.console"))
}

/// The definition file of `node` in the state directory.
pub(crate) fn definition(directory: &Path, node: &str) -> std::path::PathBuf {
    directory.join(format!("{node}.xml"))
}

impl Guests<'_> {
    /// The definition of `node`, the `number`-th from 1: one of the cluster's, or the storage guest.
    ///
    /// A guest that crashes is preserved, and there is no pvpanic device, so that libvirt learns nothing
    /// of a panic and does nothing about it: such a guest stays until it is fenced.
    pub(crate) fn definition(&self, node: &Node, number: usize) -> String {
        let (domain, cpu) = match self.accel {
            Accel::Kvm => ("kvm", "<cpu mode='host-passthrough'/>"),
            Accel::Tcg => ("qemu", "<cpu mode='maximum'/>"),
        };
        // QEMU's default is half a GiB of translated code per guest.
        let translator = match self.accel {
            Accel::Kvm => "",
            Accel::Tcg => "<tcg><tb-cache unit='MiB'>128</tb-cache></tcg>",
        };
        let path = |path: &Path| escape(path.to_string_lossy().as_ref()).into_owned();
        let name = escape(&node.name);
        let disk = |file: &Path, target: &str, shared: bool| {
            // What is written need not survive this machine, only the guest. It is in the machine's memory
            // as soon as QEMU has it.
            let (cache, flags) = if shared {
                ("", "      <readonly/>\n      <shareable/>\n")
            } else {
                (" cache='unsafe'", "")
            };
            format!(
                "    <disk type='file' device='disk'>\n\
                 \x20     <driver name='qemu' type='raw'{cache}/>\n\
                 \x20     <source file='{}'/>\n\
                 \x20     <target dev='{target}' bus='virtio'/>\n\
                 {flags}\
                 \x20   </disk>\n",
                path(file)
            )
        };
        let storage = self.storage.filter(|storage| storage.node == *node);
        let served: String = storage
            .into_iter()
            .flat_map(|storage| storage.files(self.directory))
            .map(|(file, target)| disk(&file, &target, false))
            .collect();
        format!(
            "<domain type='{domain}'>\n\
             \x20 <name>{name}</name>\n\
             \x20 <uuid>{uuid}</uuid>\n\
             \x20 <memory unit='MiB'>{memory}</memory>\n\
             \x20 <vcpu>1</vcpu>\n\
             \x20 <os>\n\
             \x20   <type arch='x86_64' machine='q35'>hvm</type>\n\
             \x20   <kernel>{kernel}</kernel>\n\
             \x20   <initrd>{initrd}</initrd>\n\
             \x20   <cmdline>{cmdline}</cmdline>\n\
             \x20 </os>\n\
             \x20 <features><acpi/><apic/>{translator}</features>\n\
             \x20 {cpu}\n\
             \x20 <clock offset='utc'><timer name='hpet' present='no'/></clock>\n\
             \x20 <on_poweroff>destroy</on_poweroff>\n\
             \x20 <on_reboot>restart</on_reboot>\n\
             \x20 <on_crash>preserve</on_crash>\n\
             \x20 <devices>\n\
             \x20   <emulator>/usr/bin/qemu-system-x86_64</emulator>\n\
             {root}{config}{own}{served}\
             \x20   <interface type='ethernet'>\n\
             \x20     <mac address='52:54:00:09:00:{number:02x}'/>\n\
             \x20     <target dev='{tap}' managed='no'/>\n\
             \x20     <model type='virtio'/>\n\
             \x20     <rom enabled='no'/>\n\
             \x20   </interface>\n\
             \x20   <serial type='file'><source path='{console}' append='on'/><target port='0'/></serial>\n\
             \x20   <channel type='unix'>\n\
             \x20     <source mode='bind' path='{channel}'/>\n\
             \x20     <target type='virtio' name='org.clusterlabs.fence_xvm.0'/>\n\
             \x20   </channel>\n\
             \x20   <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n\
             \x20   <controller type='usb' model='none'/>\n\
             \x20   <memballoon model='none'/>\n\
             \x20 </devices>\n\
             </domain>\n",
            uuid = uuid(self.lab, number),
            memory = storage.map_or(self.memory_mib, |_| storage::MEMORY_MIB),
            kernel = path(&self.image.vmlinux()),
            initrd = path(&self.image.initrd()),
            cmdline = escape(self.command_line(node, storage.is_some())),
            root = disk(&self.image.root(), "vda", true),
            config = disk(&self.directory.join(CONFIG_DISK), "vdb", true),
            own = disk(&disk::own(self.directory, &node.name), "vdc", false),
            tap = tap(number),
            console = path(&console(self.directory, &node.name)),
            channel = path(&self.directory.join(format!("{}.channel", node.name))),
        )
    }

    fn command_line(&self, node: &Node, is_storage: bool) -> String {
        let rate = match (self.accel, self.tsc_khz) {
            (Accel::Tcg, Some(khz)) => format!(" tsc_early_khz={khz} no_timer_check"),
            _ => String::new(),
        };
        let role = if is_storage { " lab.role=storage" } else { "" };
        format!(
            "console=ttyS0 quiet panic=0 mitigations=off random.trust_cpu=on nokaslr net.ifnames=0{rate}{role} lab.name={} lab.ip={}/{}",
            node.name,
            node.address,
            crate::PREFIX
        )
    }
}

/// The UUID of the `number`-th guest of the lab called `lab`: the same at each start, because a saved
/// guest carries it in its memory, and another one in each lab, because it is by its UUID that a guest's
/// process is found when it must be killed.
pub(crate) fn uuid(lab: &LabName, number: usize) -> uuid::Uuid {
    let digest = Sha256::new()
        .chain_update(lab.as_str())
        .chain_update([0])
        .chain_update(number.to_be_bytes())
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    // Version 8 (RFC 9562) is for such made ones.
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_of_all_labs_differ_and_stay_the_same() {
        let name = |text: &str| text.parse::<LabName>().unwrap();
        let (one, other) = (name("one"), name("other"));
        assert_eq!(uuid(&one, 1), uuid(&one, 1));
        assert_ne!(uuid(&one, 1), uuid(&one, 2));
        assert_ne!(uuid(&one, 1), uuid(&other, 1));
    }
}
