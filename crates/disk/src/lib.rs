//! A SCSI disk from its initiator's side: device nodes through SG_IO, `iscsi://` addresses through our own initiator.
