// What a web page can try against another server of this machine. Each attempt resolves to what it could read, or null.
// To try something new against the proxy, add it to `attempts`.

let patience; // ms for one attempt

function within(promise) {
  const late = new Promise((resolve) => setTimeout(() => resolve(null), patience));
  return Promise.race([promise, late]).catch(() => null);
}

async function fetched(url, options) {
  const response = await fetch(url, options);
  const text = await response.text();
  return response.type === "opaque" || response.status === 0 ? null : `${response.status} ${text}`;
}

function element(name, attributes, read) {
  return new Promise((resolve) => {
    const made = document.createElement(name);
    made.onload = () => resolve(read(made));
    made.onerror = () => resolve(null);
    Object.assign(made, attributes);
    document.body.append(made);
  });
}

function submitted(method, url, fields) {
  return new Promise((resolve) => {
    const frame = document.createElement("iframe");
    frame.name = `frame-${Math.random()}`;
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method, action: url, target: frame.name });
    for (const [name, value] of Object.entries(fields)) {
      const input = document.createElement("input");
      Object.assign(input, { name, value });
      form.append(input);
    }
    document.body.append(form);
    frame.onload = () => resolve(inside(frame));
    form.submit();
  });
}

function inside(frame) {
  try {
    const text = frame.contentDocument.body.innerText;
    return text === "" ? null : text;
  } catch {
    return null;
  }
}

function spoken(socket, opens, says) {
  return new Promise((resolve) => {
    socket[opens] = () => resolve("opened");
    socket[says] = (event) => resolve(event.data);
    socket.onerror = () => resolve(null);
  });
}

const attempts = {
  "fetch": (url) => fetched(url),
  "fetch with credentials": (url) => fetched(url, { credentials: "include" }),
  "fetch without cors": (url) => fetched(url, { mode: "no-cors" }),
  "fetch without referrer": (url) => fetched(url, { referrerPolicy: "no-referrer" }),
  "fetch of a kept answer": (url) => fetched(url, { cache: "force-cache" }),
  "fetch with a header of its own": (url) => fetched(url, { headers: { "X-Ppmproxy-Secret": "guess" } }),
  "post as the page does": (url) =>
    fetched(url, { method: "POST", headers: { "X-Ppmproxy-Page-Token": "guess" }, credentials: "include" }),
  "post": (url) => fetched(url, { method: "POST", body: "x" }),
  "post without cors": (url) => fetched(url, { method: "POST", mode: "no-cors", body: "x" }),
  "put": (url) => fetched(url, { method: "PUT", body: "x" }),
  "delete": (url) => fetched(url, { method: "DELETE" }),
  "head": (url) => fetched(url, { method: "HEAD" }),
  "request of old": (url) =>
    new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.onload = () => resolve(`${request.status} ${request.responseText}`);
      request.onerror = () => resolve(null);
      request.open("GET", url);
      request.send();
    }),
  "beacon": async (url) => (navigator.sendBeacon(url, "x"), null),
  "form": (url) => submitted("POST", url, { x: "y" }),
  "form that gets": (url) => submitted("GET", url, { x: "y" }),
  "image": (url) => element("img", { src: url }, (image) => `${image.naturalWidth} wide`),
  "script": (url) => element("script", { src: url }, () => "ran"),
  "module": async (url) => (await import(url), "imported"),
  "style": (url) => element("link", { rel: "stylesheet", href: url }, (link) => `${link.sheet.cssRules.length} rules`),
  "prefetch": (url) => element("link", { rel: "prefetch", href: url }, () => null),
  "frame": (url) => element("iframe", { src: url }, inside),
  "object": (url) => element("object", { data: url }, () => "shown"),
  "audio": (url) =>
    new Promise((resolve) => {
      const audio = new Audio(url);
      audio.onloadedmetadata = () => resolve("heard");
      audio.onerror = () => resolve(null);
    }),
  "worker": (url) =>
    new Promise((resolve) => {
      const source = `try { importScripts(${JSON.stringify(url)}); postMessage("ran") } catch { postMessage(null) }`;
      const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
      worker.onmessage = (event) => resolve(event.data);
    }),
  "socket": (url) => spoken(new WebSocket(url.replace("http", "ws")), "onopen", "onmessage"),
  "events": (url) => spoken(new EventSource(url), "onopen", "onmessage"),
  "window": (url) =>
    new Promise((resolve) => {
      const opened = window.open(url);
      setTimeout(() => {
        let text = null;
        try {
          text = opened.document.body.innerText || null;
        } catch {}
        if (opened) opened.close();
        resolve(text);
      }, patience / 2);
    }),
};

async function attack(url, longest = 1500, names = Object.keys(attempts)) {
  patience = longest;
  const outcomes = names.map(async (name) => [name, await within(attempts[name](url))]);
  return Object.fromEntries(await Promise.all(outcomes));
}
