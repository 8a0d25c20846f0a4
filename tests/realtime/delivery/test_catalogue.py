import pytest

from realtime.delivery.catalogue import Catalogue
from realtime.delivery.errors import UnknownTopic
from realtime.delivery.hub import Hub
from realtime.settings import Settings, TopicSettings


@pytest.fixture
def catalogue():
    return Catalogue(Settings().topic, "e")


@pytest.mark.parametrize("name", ["", "a b", "a//b", "x" * 65, "/", "é"])
def test_a_name_that_is_no_topics_cannot_be_declared(catalogue, name):
    with pytest.raises(ValueError, match="name must be"):
        catalogue.declare(name)


@pytest.mark.parametrize("name", ["tasks/", "tasks", "tasks/a b", "tasks//x", "other/x", "tasks/" + "x" * 65])
def test_a_prefix_makes_known_what_is_more_than_itself_and_a_topics_name(catalogue, name):
    catalogue.declare("tasks/*")
    catalogue.check("tasks/x")
    with pytest.raises(UnknownTopic):
        catalogue.check(name)


def test_the_longest_prefix_decides_whether_a_topic_retains(catalogue):
    catalogue.declare("tasks/*", retain=True)
    catalogue.declare("tasks/quiet/*")
    assert catalogue.open("tasks/x").retains
    assert not catalogue.open("tasks/quiet/x").retains


def test_a_topic_has_the_settings_of_its_name():
    catalogue = Catalogue({"a": TopicSettings(history=7)}.__getitem__, "e")
    catalogue.declare("a")
    assert catalogue.known("a").settings.history == 7


def test_declaring_again_keeps_the_topic_and_may_add_retaining(catalogue):
    catalogue.declare("a")
    topic = catalogue.known("a")
    catalogue.declare("a", retain=True)
    catalogue.declare("a")
    assert catalogue.known("a") is topic
    assert topic.retains


def test_what_was_not_declared_is_not_known(catalogue):
    assert catalogue.find("a") is None
    with pytest.raises(UnknownTopic) as refused:
        catalogue.known("a")
    assert refused.value.topic == "a"


def test_a_topic_that_comes_back_has_another_epoch(catalogue):
    catalogue.declare("tasks/*")
    first = catalogue.open("tasks/x")
    assert catalogue.forget_if_unused(first)
    assert catalogue.open("tasks/x").epoch != first.epoch


def test_what_was_declared_can_be_listed_and_taken_back():
    """Names and prefixes; what has subscribers stays until they have left."""
    hub = Hub(lambda name: TopicSettings())
    hub.declare("stays")
    with hub.noting() as noted:
        hub.declare("one", retain=True)
        hub.declare("many/*")
        hub.declare("stays")
    hub.declare("not_noted")
    assert noted == ["one", "many/*", "stays"]
    hub.check("many/x")
    hub.retract("many/*")
    hub.retract("one")
    assert hub.declared() == {"stays", "not_noted"}
    with pytest.raises(UnknownTopic):
        hub.check("many/x")
