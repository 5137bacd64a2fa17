#![doc = include_str!("../README.md")]

use ws_cloud_plugin_sdk::Factory;

/// The plugins of the standard gateway. A new one is a line here and a feature in `Cargo.toml`.
pub fn factories() -> Vec<Factory> {
    vec![
        #[cfg(feature = "tracing")]
        Factory::of::<ws_cloud_plugin_tracing::Tracing>(),
        #[cfg(feature = "rewrite")]
        Factory::of::<ws_cloud_plugin_rewrite::Rewrite>(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(all(feature = "tracing", feature = "rewrite"))]
    #[test]
    fn the_list_reads_as_the_old_one_did() {
        let listed: Vec<_> = factories().iter().map(|f| (f.name, format!("{}_{}", f.description, f.version))).collect();
        assert_eq!(listed, [("tracing", "链路跟踪插件_v1.0".to_owned()), ("rewrite", "url重写插件_v1.0".to_owned())]);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = factories().iter().map(|f| f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), factories().len());
    }
}
