// The WebSocket of the demo's page.
"use strict";
const form = document.getElementById("say");
if (form) {
  const said = document.getElementById("said");
  const words = document.getElementById("words");
  const note = (text) => {
    const line = document.createElement("li");
    line.textContent = text;
    said.prepend(line);
  };
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/echo");
  socket.addEventListener("open", () => note("(open)"));
  socket.addEventListener("message", (event) => note(event.data));
  socket.addEventListener("close", () => note("(closed: the session ended, or the gateway or the app went away)"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    socket.send(words.value);
    words.select();
  });
}
