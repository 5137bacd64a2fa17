//! A body on its way through the filters, piece by piece.

use bytes::{Bytes, BytesMut};

use crate::{BodyMode, DynPlugin};

/// Why a body did not come through.
pub(super) enum Stopped<E> {
    /// It is larger than a plugin is willing to buffer.
    TooLarge,
    /// The plugin of this name refused it.
    By(&'static str, E),
}

/// Sends a body through the plugins as it would arrive: in chunks, and the end on its own, as
/// when the length was not announced.
pub(super) fn filter<'p, E>(
    body: &Bytes,
    chunk_size: usize,
    plugins: impl Iterator<Item = &'p dyn DynPlugin>,
    mode: fn(&dyn DynPlugin) -> BodyMode,
    mut call: impl FnMut(&dyn DynPlugin, &mut Option<Bytes>, bool) -> Result<(), E>,
) -> Result<Bytes, Stopped<E>> {
    let mut plugins: Vec<_> = plugins.map(|plugin| (plugin, mode(plugin), BytesMut::new())).collect();
    let mut out = BytesMut::new();
    let chunks = (0..body.len()).step_by(chunk_size);
    let chunks = chunks.map(|start| Some(body.slice(start..body.len().min(start + chunk_size))));
    for mut piece in chunks.chain([None]) {
        let end = piece.is_none();
        let mut complete = true;
        for (plugin, mode, held) in &mut plugins {
            if let BodyMode::Buffer(limit) = mode {
                complete = hold(held, *limit, &mut piece, end)?;
                if !complete {
                    break;
                }
            }
            call(*plugin, &mut piece, end).map_err(|e| Stopped::By(plugin.name(), e))?;
        }
        if let Some(piece) = piece.filter(|_| complete) {
            out.extend_from_slice(&piece);
        }
    }
    Ok(out.freeze())
}

/// Keeps a piece back; at the end puts all of them in its place and is `true`.
fn hold<E>(held: &mut BytesMut, limit: usize, piece: &mut Option<Bytes>, end: bool) -> Result<bool, Stopped<E>> {
    if let Some(bytes) = piece.take() {
        held.extend_from_slice(&bytes);
    }
    if held.len() > limit {
        return Err(Stopped::TooLarge);
    }
    if end {
        *piece = Some(std::mem::take(held).freeze());
    }
    Ok(end)
}
