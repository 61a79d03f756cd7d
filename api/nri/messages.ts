/** The codec of NRI's messages. */
import { Codec } from './codec.ts';
import { fields, type MessageInits, type Messages } from './generated/api.js';

export const messages: Codec<Messages, MessageInits> = new Codec(fields);
