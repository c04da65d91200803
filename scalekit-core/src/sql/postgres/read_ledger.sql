select line, version, checksum from scalekit.migration
