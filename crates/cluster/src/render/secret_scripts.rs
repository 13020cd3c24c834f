//! How agents get their passwords: a script per option prints the file on the node that holds it.
//!
//! The configuration of Pacemaker is readable for its whole group, and an agent's arguments for every
//! process; so both hold the script's name only. The agents' common library runs the script and takes
//! what it prints, without the line break at its end.

use crate::definition::FenceDevice;

/// Where the scripts are.
const DIRECTORY: &str = "/etc/picket/fence";

/// A script for one secret option of a device.
pub(super) struct Script {
    /// The option that takes the script's name: `password_script` for `password`.
    pub(super) option: String,
    /// Where it belongs.
    pub(super) path: String,
    /// What it says.
    pub(super) text: String,
}

/// The scripts of a device. Both names are plain, and a device's name holds no dot.
pub(super) fn of(device: &FenceDevice) -> impl Iterator<Item = Script> {
    device.secrets.iter().map(|(option, file)| Script {
        option: format!("{option}_script"),
        path: format!("{DIRECTORY}/{}.{option}", device.name),
        text: format!(
            "#!/bin/sh\n# Prints the {option} of the fencing device {}, for its agent.\nexec cat {file}\n",
            device.name,
            file = file.as_str()
        ),
    })
}
