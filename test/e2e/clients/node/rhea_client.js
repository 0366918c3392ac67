// An AMQP 1.0 client: node rhea_client.js declare|publish|consume PORT QUEUE [BODY… | COUNT]
const rhea = require('rhea');

const [command, port, queue, ...rest] = process.argv.slice(2);
const container = rhea.create_container();

function fail(text) {
  console.error(text);
  process.exit(1);
}

for (const event of ['connection_error', 'session_error', 'sender_error', 'receiver_error', 'rejected', 'released', 'modified']) {
  container.on(event, (context) => {
    const on = context.receiver || context.sender || context.connection;
    fail(`${event}: ${on && on.error}`);
  });
}
container.on('disconnected', (context) => fail(`disconnected: ${context.error}`));

const commands = {
  // qpidd makes a queue for a terminus that asks for it with this capability.
  declare() {
    container.on('sender_open', (context) => context.connection.close());
    connect().open_sender({ target: { address: queue, capabilities: ['create-on-demand'] } });
  },
  publish() {
    let sent = 0;
    let accepted = 0;
    container.on('sendable', (context) => {
      while (sent < rest.length && context.sender.sendable()) {
        context.sender.send({ body: rhea.message.data_section(Buffer.from(rest[sent])), durable: true });
        sent += 1;
      }
    });
    container.on('accepted', (context) => {
      accepted += 1;
      if (accepted === rest.length) context.connection.close();
    });
    connect().open_sender(queue);
  },
  consume() {
    const count = Number(rest[0]);
    let received = 0;
    container.on('message', (context) => {
      if (received === count) return;
      const { body } = context.message;
      const bytes = Buffer.isBuffer(body) ? body : body.content;
      console.log(bytes.toString());
      context.delivery.accept();
      received += 1;
      if (received === count) {
        context.receiver.close();
        context.connection.close();
      }
    });
    connect().open_receiver({ source: queue, autoaccept: false, credit_window: 0 }).add_credit(count);
  },
};

function connect() {
  const { CLIENT_USER: username = 'anonymous', CLIENT_PASSWORD: password } = process.env;
  return container.connect({ host: '127.0.0.1', port: Number(port), username, password, reconnect: false });
}

commands[command]();
