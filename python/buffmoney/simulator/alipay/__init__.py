"""Alipay's face, the v2 gateway with RSA2, as china-payments describes it."""
