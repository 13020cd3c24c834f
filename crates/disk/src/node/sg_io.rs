//! The one system call, and the only `unsafe` of this crate: SG_IO (`scsi/sg.h`, version 3 of its interface).

use std::ffi::{c_int, c_uchar, c_uint, c_ushort, c_void};
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;
use std::time::Duration;

/// The request's number.
const SG_IO: u32 = 0x2285;
/// `dxfer_direction`
const NONE: c_int = -1;
const TO_DEVICE: c_int = -2;
const FROM_DEVICE: c_int = -3;
/// The most sense data that are kept (SPC-4: 252 bytes in all; the field holds 255).
pub(super) const SENSE: usize = 252;
/// The longest command.
pub(super) const MAX_CDB: usize = 16;

/// `struct sg_io_hdr`. Its layout on 64-bit machines is checked below.
#[repr(C)]
struct Header {
    interface_id: c_int,
    direction: c_int,
    cmd_len: c_uchar,
    mx_sb_len: c_uchar,
    iovec_count: c_ushort,
    dxfer_len: c_uint,
    dxferp: *mut c_void,
    cmdp: *const c_uchar,
    sbp: *mut c_uchar,
    timeout: c_uint,
    flags: c_uint,
    pack_id: c_int,
    usr_ptr: *mut c_void,
    status: c_uchar,
    masked_status: c_uchar,
    msg_status: c_uchar,
    sb_len_wr: c_uchar,
    host_status: c_ushort,
    driver_status: c_ushort,
    resid: c_int,
    duration: c_uint,
    info: c_uint,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<Header>() == 88);
    assert!(offset_of!(Header, dxfer_len) == 12 && offset_of!(Header, dxferp) == 16);
    assert!(offset_of!(Header, sbp) == 32 && offset_of!(Header, timeout) == 40);
    assert!(offset_of!(Header, usr_ptr) == 56 && offset_of!(Header, status) == 64);
    assert!(offset_of!(Header, host_status) == 68 && offset_of!(Header, resid) == 72);
};

/// The data of a command, owned, so that they stay where they are while the kernel has them.
#[derive(Debug)]
pub(super) enum Buffer {
    None,
    In(Vec<u8>),
    Out(Vec<u8>),
}

/// What the kernel said of a command that it took.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: u8,
    pub(super) host: u16,
    pub(super) driver: u16,
    pub(super) sense: Vec<u8>,
    /// How many bytes were not moved.
    pub(super) residual: usize,
}

/// Sends `cdb` and waits, `limit` long and for as long as the kernel then needs to give the command up.
///
/// # Errors
/// If the kernel does not take the command: it was not sent.
pub(super) fn sg_io(
    device: BorrowedFd<'_>,
    cdb: &[u8],
    buffer: &mut Buffer,
    limit: Duration,
) -> io::Result<Done> {
    let mut sense = [0; SENSE];
    let (direction, dxferp, length) = match buffer {
        Buffer::None => (NONE, ptr::null_mut(), 0),
        Buffer::In(bytes) => (FROM_DEVICE, bytes.as_mut_ptr(), bytes.len()),
        // The kernel only reads from it.
        Buffer::Out(bytes) => (TO_DEVICE, bytes.as_mut_ptr(), bytes.len()),
    };
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let millis = limit.as_millis().clamp(1, c_int::MAX.unsigned_abs().into());
    let mut header = Header {
        interface_id: c_int::from(b'S'),
        direction,
        cmd_len: c_uchar::try_from(cdb.len()).map_err(invalid)?,
        mx_sb_len: c_uchar::try_from(SENSE).map_err(invalid)?,
        iovec_count: 0,
        dxfer_len: c_uint::try_from(length).map_err(invalid)?,
        dxferp: dxferp.cast(),
        cmdp: cdb.as_ptr(),
        sbp: sense.as_mut_ptr(),
        timeout: c_uint::try_from(millis).map_err(invalid)?,
        flags: 0,
        pack_id: 0,
        usr_ptr: ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sb_len_wr: 0,
        host_status: 0,
        driver_status: 0,
        resid: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: `header` has the layout that SG_IO expects (asserted above). Its three pointers and their lengths describe
    // `buffer`, `cdb` and `sense`, all of which outlive the call; the kernel writes to `buffer` only for `FROM_DEVICE`,
    // where it is borrowed mutably, and to `sense`. The call returns after the kernel is done with them.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), SG_IO.into(), &raw mut header) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let written = usize::from(header.sb_len_wr).min(SENSE);
    Ok(Done {
        status: header.status,
        host: header.host_status,
        driver: header.driver_status,
        sense: sense[..written].to_vec(),
        residual: usize::try_from(header.resid)
            .unwrap_or_default()
            .min(length),
    })
}
