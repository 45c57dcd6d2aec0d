-- Refuses a request that nests deeper than any API's: JSON in brackets, and text that a server parses (a grammar, a pattern, arguments of a
-- tool). Both are read by recursion, and a server that runs out of stack ends: llama-server of llama.cpp b11434 does at 100,000 levels of
-- JSON and at 30,000 of a grammar. serde_json reads 128 levels by default. Text may have many more brackets open, as nobody closes :( .
-- Whether the request is JSON at all is the server's to say.
local DEEPEST, DEEPEST_IN_TEXT = 128, 4000
local byte, sub = string.byte, string.sub

local STEP = { [40] = 1, [41] = -1, [91] = 1, [93] = -1, [123] = 1, [125] = -1 } -- ( ) [ ] { }
local ESCAPED = { ["0028"] = 1, ["0029"] = -1, ["005b"] = 1, ["005d"] = -1, ["007b"] = 1, ["007d"] = -1 }

-- Where the string that begins at `at` ends, or nil if it nests too deep.
local function end_of_string(text, at, length)
  local depth = 0
  at = at + 1
  while at <= length do
    local c = byte(text, at)
    local step = STEP[c]
    if c == 34 then
      return at
    elseif c == 92 then -- a backslash, and what it escapes
      at = at + 1
      if byte(text, at) == 117 then
        step = ESCAPED[string.lower(sub(text, at + 1, at + 4))]
        at = at + 4
      end
    end
    if step then
      depth = depth + step
      if depth > DEEPEST_IN_TEXT then
        return nil
      elseif depth < 0 then
        depth = 0
      end
    end
    at = at + 1
  end
  return at
end

local function too_deep(text)
  local depth, at, length = 0, 1, #text
  while at and at <= length do
    local c = byte(text, at)
    if c == 34 then
      at = end_of_string(text, at, length)
    elseif c == 91 or c == 123 then
      depth = depth + 1
      if depth > DEEPEST then
        return true
      end
    elseif c == 93 or c == 125 then
      depth = depth - 1
    end
    at = at and at + 1
  end
  return at == nil
end

function envoy_on_request(request)
  local body = request:body()
  local length = body and body:length() or 0
  -- No JSON begins with a dash and goes deep; an upload in parts (multipart/form-data) begins with one, and has brackets of its own.
  if length == 0 or body:getBytes(0, 1) == "-" then
    return
  end
  if too_deep(body:getBytes(0, length)) then
    local limits = DEEPEST .. " levels of JSON, or " .. DEEPEST_IN_TEXT .. " open brackets in one text."
    request:respond({ [":status"] = "400" }, "The request is nested too deep: it may have " .. limits)
  end
end
