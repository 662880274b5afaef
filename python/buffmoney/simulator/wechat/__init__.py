"""WeChat Pay's face, API v3: direct merchants and service providers, as china-payments describes them."""
