// Emoji that the page offers as reactions, and the search among them. No DOM.

/** Number of emoji in the row of the most used ones. */
export const OFTEN_USED = 8;
const DEFAULTS = ["👍", "❤️", "😂", "🎉", "👀", "✅", "🙏", "🔥"];

/** One emoji a line: the emoji, its name, and after a colon further words of the search. */
const LIST = `
👍 thumbs up: yes ok agree like good
👎 thumbs down: no disagree dislike bad
👌 ok hand: fine perfect
👏 clapping hands: applause bravo
🙌 raised hands: hooray celebrate
🙏 folded hands: thanks please pray
🤝 handshake: deal agreement
👋 waving hand: hello hi bye
✌️ victory hand: peace
🤞 crossed fingers: luck hope
💪 flexed arm: strong muscle
👉 finger pointing right: there next
👆 finger pointing up: above this
👇 finger pointing down: below
✋ raised hand: stop question
🫡 saluting face: yes sir order
🙋 person raising hand: me question
🤷 shrug: unknown whatever
🤦 facepalm: oh no
❤️ red heart: love
🧡 orange heart: love
💛 yellow heart: love
💚 green heart: love
💙 blue heart: love
💜 purple heart: love
🖤 black heart: love
💔 broken heart: sad
💯 hundred: full perfect
😀 grinning face: happy smile
😃 smiling face with open mouth: happy
😄 laughing eyes: happy smile
😁 beaming face: grin happy
😅 sweating smile: relief phew
😂 tears of joy: laugh lol
🤣 rolling on the floor: laugh lol rofl
🙂 slight smile: friendly
🙃 upside-down face: irony
😉 winking face: joke
😊 blushing smile: happy thanks
😇 halo: angel innocent
🥰 face with hearts: love
😍 heart eyes: love
😘 blown kiss: love
😋 tasty: food yum
😛 tongue: joke
🤪 zany face: crazy
🤗 hug: thanks
🤔 thinking face: hmm consider
🤨 raised eyebrow: doubt
😐 neutral face: meh
🙄 rolling eyes: annoyed
😏 smirk: sly
😬 grimace: awkward
😌 relieved face: calm
😴 sleeping face: tired night
🤒 thermometer face: sick ill
🤯 exploding head: mind blown wow
🥳 party face: celebrate birthday
😎 sunglasses: cool
🤓 nerd face: glasses
😕 confused face: unsure
😟 worried face: concern
😮 open mouth: wow surprise
😲 astonished face: wow shock
🥺 pleading face: please
😢 crying face: sad tear
😭 loud crying: sad tears
😱 scream: fear shock
😞 disappointed face: sad
😤 triumph: steam angry
😡 angry face: mad
🤬 cursing face: swear angry
💀 skull: dead
💩 pile of poo: bad
🤖 robot: agent bot machine
👻 ghost: halloween
🙈 monkey covering eyes: see no evil
👀 eyes: look watching review
🧠 brain: smart think
✅ check mark: done yes approved
✔️ tick: done yes
❌ cross mark: no wrong fail
❗ exclamation mark: important
❓ question mark: what
⚠️ warning: careful danger
🚫 prohibited: no forbidden
🛑 stop sign: halt
🟢 green circle: go live
🟡 yellow circle: wait
🔴 red circle: stop down
🎉 party popper: celebrate hooray tada
🎊 confetti ball: celebrate
🎈 balloon: birthday party
🎁 present: gift birthday
🎂 birthday cake: party
🏆 trophy: win first
🥇 gold medal: win first
🚀 rocket: launch ship fast
✨ sparkles: new shine magic
⭐ star: favourite
🌟 glowing star: great
💫 dizzy star: wow
🔥 fire: hot great burning
💥 collision: boom crash
⚡ lightning: fast power
💡 light bulb: idea
💬 speech balloon: comment talk
💭 thought balloon: think
📌 pin: important
📎 paper clip: attachment
📝 memo: note write
📅 calendar: date plan
📈 rising chart: growth up
📉 falling chart: loss down
🔍 magnifying glass: search find
🔒 lock: secure private
🔑 key: access
🔧 wrench: fix repair
🔨 hammer: build
🐛 bug: error defect
🐞 ladybird: bug
🐢 turtle: slow
🐱 cat: pet
🐶 dog: pet
🦄 unicorn: magic
🍀 clover: luck
🌈 rainbow: colours
☀️ sun: weather day
🌙 moon: night
❄️ snowflake: cold winter
☕ coffee: break tea hot
🍕 pizza: food lunch
🍺 beer: drink cheers
🥂 clinking glasses: cheers toast
🍿 popcorn: watching film
⏰ alarm clock: time late
⏳ hourglass: wait time
`;

/** All emoji, as `{ emoji, name, words }`. */
export const EMOJI = LIST.trim()
  .split("\n")
  .map((line) => {
    const [emoji, ...rest] = line.split(" ");
    const [name, more = ""] = rest.join(" ").split(": ");
    return { emoji, name, words: `${name} ${more}`.split(/[\s-]+/).filter(Boolean) };
  });

const byEmoji = new Map(EMOJI.map((one) => [one.emoji, one]));

/** Returns the name of an emoji; the emoji itself if the list does not have it. */
export const emojiName = (emoji) => byEmoji.get(emoji)?.name ?? emoji;

/** Returns the emoji with a word that begins like each word of `query`: those whose name begins so come first. */
export function findEmoji(query) {
  const asked = query.toLowerCase().trim().split(/[\s-]+/).filter(Boolean);
  if (asked.length === 0) return EMOJI;
  const exact = byEmoji.get(query.trim());
  if (exact) return [exact];
  const found = EMOJI.filter(({ words }) => asked.every((part) => words.some((word) => word.startsWith(part))));
  const isFirst = ({ name }) => name.startsWith(asked.join(" "));
  return [...found.filter(isFirst), ...found.filter((one) => !isFirst(one))];
}

/** Counts the emoji that a user chooses. `storage` has `get` and `set`; its content may be of another program. */
export class EmojiUse {
  #storage;
  #key;

  constructor(storage, key = "switchboard.emoji") {
    this.#storage = storage;
    this.#key = key;
  }

  /** Returns the emoji that were chosen most often, filled up with common ones. */
  get most() {
    const counts = Object.entries(this.#counts());
    const used = counts.sort(([, one], [, other]) => other - one).map(([emoji]) => emoji);
    return [...new Set([...used, ...DEFAULTS])].slice(0, OFTEN_USED);
  }

  add(emoji) {
    const counts = this.#counts();
    this.#storage.set(this.#key, JSON.stringify({ ...counts, [emoji]: (counts[emoji] ?? 0) + 1 }));
  }

  #counts() {
    try {
      const stored = Object.entries(JSON.parse(this.#storage.get(this.#key) ?? "{}") ?? {});
      return Object.fromEntries(stored.filter(([emoji, count]) => byEmoji.has(emoji) && Number.isSafeInteger(count)));
    } catch {
      return {};
    }
  }
}
