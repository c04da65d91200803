select line, version, checksum from scalekit_migration
