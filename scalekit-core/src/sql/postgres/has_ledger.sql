select to_regclass('scalekit.migration') is not null
