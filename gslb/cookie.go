package gslb

const clientCookie = 8 // bytes of the client's part (RFC 7873, section 4)
