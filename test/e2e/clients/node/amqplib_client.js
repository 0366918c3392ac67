// An AMQP 0-9-1 client: node amqplib_client.js declare|publish|consume PORT QUEUE [BODY… | COUNT]
const amqplib = require('amqplib');

const [command, port, queue, ...rest] = process.argv.slice(2);

const commands = {
  async declare(connection) {
    const channel = await connection.createChannel();
    await channel.assertQueue(queue, { durable: true });
    await channel.close();
  },
  async publish(connection) {
    const channel = await connection.createConfirmChannel();
    for (const body of rest) channel.sendToQueue(queue, Buffer.from(body), { persistent: true });
    await channel.waitForConfirms();
    await channel.close();
  },
  async consume(connection) {
    const count = Number(rest[0]);
    const channel = await connection.createChannel();
    await channel.prefetch(count);
    await new Promise((resolve, reject) => {
      let received = 0;
      channel.consume(queue, (message) => {
        if (message === null) {
          reject(new Error('the consumer was cancelled'));
          return;
        }
        if (received === count) return;
        console.log(message.content.toString());
        channel.ack(message);
        received += 1;
        if (received === count) resolve();
      }).catch(reject);
    });
    await channel.close();
  },
};

async function main() {
  const { CLIENT_USER: username = 'guest', CLIENT_PASSWORD: password = 'guest' } = process.env;
  const connection = await amqplib.connect({ protocol: 'amqp', hostname: '127.0.0.1', port: Number(port), username, password });
  await commands[command](connection);
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
