/** Puts the parts of the page together: three sockets, and what each of them feeds. */

import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { byId, setText } from "./dom.js";
import { Events } from "./events.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { EventForm } from "./form.js";
import { TIME_WIDTH } from "./format.js";
import { Health } from "./health.js";
import { SignIn } from "./signin.js";
import { Socket } from "./socket.js";
import { Supervision } from "./supervision.js";
import { Tasks } from "./tasks.js";

const debug = document.querySelector('meta[name="realtime-debug"]').content === "true";
const announce = (text) => setText(byId("announcer"), text);

const clock = new Clock();
const figures = new Figures(() => clock.serverNow());
const feed = new Feed();
const health = new Health(announce);
const connection = new Connection(announce);

/** What all sockets share: the panels they feed say why they are not live, and one that is back calls the others. */
function follow(...panels) {
  return ({ state, words }) => {
    for (const panel of panels.map(byId)) {
      panel.dataset.live = String(state === "open");
      const why = panel.querySelector(".not-live");
      if (why !== null && state !== "open") setText(why, words);
    }
    connection.changed();
    if (state === "open") connection.hurry();
  };
}

/* Clock and live figures come over the session's socket; every load of the page is a session of its own. */

const sessionLive = follow("figures", "clock", "tasks");
const session = new Socket(`ws/${sessionId()}`, {
  onState: (now) => {
    sessionLive(now);
    if (now.state !== "open") return figures.lost();
    session.send({ type: "subscribe", topic: "system" });
    return tasks.opened();
  },
  onMessage: ({ type, topic, data, message }) => {
    if (topic?.startsWith("tasks/")) tasks.received({ type, topic, data });
    else if (type === "time_update") clock.update(data.date);
    else if (type === "snapshot" && topic === "system") figures.update(data);
    else if ((type === "error" || type === "unsubscribed") && topic === "system") figures.notice(message);
  },
});

const tasks = new Tasks(session);

function sessionId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return `dashboard-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const events = new Events(feed, { onState: follow("events"), serverNow: () => clock.serverNow() });
new EventForm((event) => {
  // It comes over the socket, in its order; only without one it has to be put there from here.
  if (events.socket.now.state !== "open") feed.add(event);
});

const supervision = new Supervision({
  debug,
  onState: follow("supervision"),
  onEvent: (change) => tasks.changed(change),
  onChange: () => health.update(supervision.model, supervision.known),
});

document.documentElement.style.setProperty("--time-width", `${TIME_WIDTH}ch`);
byId("debug").hidden = !debug;

const sockets = new Map([
  ["Clock and figures", session],
  ["Events", events.socket],
  ["Supervision", supervision.socket],
]);
for (const [name, socket] of sockets) connection.add(name, socket);
for (const socket of sockets.values()) socket.open();

new SignIn(() => sockets.forEach((socket) => socket.restart()));

setInterval(() => {
  clock.tick();
  figures.tick();
  supervision.tick();
}, 1000);

// A page that the browser puts aside for "back" may not keep sockets; it comes back with them.
addEventListener("pagehide", () => sockets.forEach((socket) => socket.leave()));
addEventListener("pageshow", (event) => event.persisted && sockets.forEach((socket) => socket.open()));
