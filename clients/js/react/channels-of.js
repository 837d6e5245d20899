export { channelsOf } from "../src/channels.js";
