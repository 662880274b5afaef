"""Alipay, v2 gateway: page, wap and QR payments with RSA2 signatures."""
