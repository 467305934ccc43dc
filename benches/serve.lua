-- wrk: posts one picture as a multipart form. The picture's path is the environment variable PICTURE.
local file = assert(io.open(os.getenv("PICTURE"), "rb"))
local picture = file:read("*a")
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "multipart/form-data; boundary=frontier"
wrk.body = "--frontier\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n\r\n"
  .. picture .. "\r\n--frontier--\r\n"
