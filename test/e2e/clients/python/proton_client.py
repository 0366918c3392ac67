"""An AMQP 1.0 client: proton_client.py declare|publish|consume PORT QUEUE [BODY... | COUNT]"""

import os
import sys

from proton import Message, symbol
from proton.reactor import LinkOption
from proton.utils import BlockingConnection

TIMEOUT = 30


class CreateOnDemand(LinkOption):
    """What qpidd makes a queue for, where there is none of that name."""

    def apply(self, link):
        link.target.capabilities.put_object(symbol("create-on-demand"))


def declare(connection, queue):
    connection.create_sender(queue, options=CreateOnDemand()).close()


def publish(connection, queue, *bodies):
    sender = connection.create_sender(queue)
    for body in bodies:
        # send waits until the message is settled, and raises unless it was accepted.
        sender.send(Message(body=body.encode(), durable=True, inferred=True))
    sender.close()


def consume(connection, queue, count):
    receiver = connection.create_receiver(queue, credit=int(count))
    for _ in range(int(count)):
        message = receiver.receive(timeout=TIMEOUT)
        print(bytes(message.body).decode())
        receiver.accept()
    receiver.close()


def main(command, port, *arguments):
    login = {}
    if "CLIENT_USER" in os.environ:
        login = {"user": os.environ["CLIENT_USER"], "password": os.environ["CLIENT_PASSWORD"], "allow_insecure_mechs": True}
    connection = BlockingConnection("127.0.0.1:" + port, timeout=TIMEOUT, **login)
    {"declare": declare, "publish": publish, "consume": consume}[command](connection, *arguments)
    connection.close()


main(*sys.argv[1:])
