"""WeChat Pay, API v3: Native, JSAPI and H5, directly and as a service provider for sub-merchants."""
