"""An AMQP 0-9-1 client: pika_client.py declare|publish|consume PORT QUEUE [BODY... | COUNT]"""

import os
import sys

import pika

TIMEOUT = 30


def declare(channel, queue):
    channel.queue_declare(queue, durable=True)


def publish(channel, queue, *bodies):
    channel.confirm_delivery()
    for body in bodies:
        # basic_publish waits for the confirm, and raises for a nack or a return.
        channel.basic_publish("", queue, body.encode(), pika.BasicProperties(delivery_mode=2), mandatory=True)


def consume(channel, queue, count):
    left = int(count)
    channel.basic_qos(prefetch_count=left)
    for method, _, body in channel.consume(queue, inactivity_timeout=TIMEOUT):
        if method is None:
            raise TimeoutError("nothing came for %d s" % TIMEOUT)
        print(body.decode())
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if left == 0:
            break
    channel.cancel()


def main(command, port, *arguments):
    login = pika.PlainCredentials(os.environ.get("CLIENT_USER", "guest"), os.environ.get("CLIENT_PASSWORD", "guest"))
    parameters = pika.ConnectionParameters("127.0.0.1", int(port), credentials=login, socket_timeout=TIMEOUT)
    connection = pika.BlockingConnection(parameters)
    {"declare": declare, "publish": publish, "consume": consume}[command](connection.channel(), *arguments)
    connection.close()


main(*sys.argv[1:])
